"""What all tests of the deployed side share."""

from __future__ import annotations

from hypothesis import settings

# Examples have no deadline: the machines that run these tests are shared.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")
