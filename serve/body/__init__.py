"""The bodies of requests and answers: their forms, and how each is read and written."""
