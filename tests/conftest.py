"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# Examples have no deadline: the machines that run these tests are shared.
settings.register_profile("shared", deadline=None, print_blob=True)
settings.load_profile("shared")
