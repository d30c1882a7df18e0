"""The store: versions of models and of data sets, content-addressed, in an OCI image layout."""

from lamda.store.lineage import Version as Version
from lamda.store.store import Store as Store
