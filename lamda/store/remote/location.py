"""Locations: where a repository of a registry is, and refs as its tags.

``oci://host[:port]/repository[:tag]``. A tag has no ``/``; a ref has no ``..``, so each ``/`` of a
ref is written ``..`` in its tag, and every tag that stands for a ref stands for one only.
"""

import ipaddress
import re
from dataclasses import dataclass

from lamda import errors
from lamda.store.refs import is_name

_PART = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"  # of a repository, as the specification has it
_URL = re.compile(
    r"oci://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?P<port>:\d{1,5})?"
    rf"/(?P<repository>{_PART}(/{_PART})*)"
    r"(:(?P<tag>[\w][\w.-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))?(?P<query>\?insecure)?",
    re.ASCII,
)
_VERSION = re.compile(r"v-[0-9a-f]{12}(-[0-9a-f]{12})?")
_LONGEST = 128


@dataclass(frozen=True)
class Location:
    """A repository of a registry, and what of it is meant."""

    host: str
    """With its port, where one was given."""
    repository: str
    name: str | None
    """A tag or a digest."""
    secure: bool
    """HTTPS; else HTTP: on this machine, or by ``?insecure``."""
    here: bool
    """Whether the host is this machine."""

    @classmethod
    def parse(cls, url: str) -> "Location":
        """The location that a URL writes. Raises SpecError.

        >>> Location.parse("oci://ghcr.io/team/news:head").base
        'https://ghcr.io/v2/team/news'
        >>> Location.parse("oci://localhost:5000/news").base
        'http://localhost:5000/v2/news'
        """
        found = _URL.fullmatch(url)
        if found is None:
            raise errors.SpecError(errors.BAD_REMOTE.format(url=url))
        host, port = found["host"], found["port"] or ""
        here, name = _is_here(host), found["tag"] or found["digest"]
        return cls(host + port, found["repository"], name, not (found["query"] or here), here)

    @property
    def origin(self) -> str:
        """Scheme, host and port. Docker Hub answers at another host than it is called by."""
        host = "registry-1.docker.io" if self.host == "docker.io" else self.host
        return f"{'https' if self.secure else 'http'}://{host}"

    @property
    def base(self) -> str:
        """The URL that everything of the repository begins with."""
        return f"{self.origin}/v2/{self.repository}"

    def __str__(self) -> str:
        return f"oci://{self.host}/{self.repository}"


def tag_of(ref: str) -> str:
    """The tag of a ref: each ``/`` is ``..``. Raises SpecError for what no tag can stand for.

    >>> tag_of("team/news")
    'team..news'
    """
    tag = ref.replace("/", "..")
    if not is_name(ref) or len(tag) > _LONGEST or is_version(tag):
        raise errors.SpecError(errors.BAD_TAG.format(ref=ref))
    return tag


def ref_of(tag: str) -> str | None:
    """The ref that a tag stands for; ``None`` for one of a version, or of another tool.

    >>> ref_of("team..news"), ref_of("v-0123456789ab")
    ('team/news', None)
    """
    ref = re.sub(r"\.\.(?=[A-Za-z0-9])", "/", tag)
    return ref if is_name(ref) and not is_version(tag) else None


def is_version(tag: str) -> bool:
    """Whether a tag keeps a version: ``v-`` and the beginning of an address."""
    return _VERSION.fullmatch(tag) is not None


def _is_here(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
