"""The store: versions of models, content-addressed, in an OCI image layout."""

from lamda.store.store import Store as Store
from lamda.store.store import Version as Version
