"""What can go wrong on the deployed side, and every text that bundle and runtime say about it."""

from __future__ import annotations


class ServeError(Exception):
    """Any error of the deployed side."""


class RequestError(ServeError, ValueError):
    """The request is wrong, and sending it again unchanged will not help.

    `status` is the HTTP status that says so, 4xx.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class BundleError(ServeError, ValueError):
    """The directory is not a bundle that can be trusted."""


class SignatureError(BundleError):
    """What had to be signed by a trusted key is not."""


class OtherKeyError(SignatureError):
    """It is signed, and by none of the keys that are trusted."""


class PluginError(ServeError, RuntimeError):
    """There is nothing here that can run the bundle, or what there is refused to."""


REBUILD = "Write the bundle again with lm.bundle; docs/bundle.md describes the format."
RECOPY = "Copy the bundle again: it was cut short or changed after it was written."

BAD_HASHING = "verify={given!r} is not known; files are verified {known}"
SIGNED_UNHASHED = (
    "a signature is required, and what is signed are digests: expected files to be verified "
    "(recorded or always), got never. Leave out LAMDA_VERIFY or the required key."
)
NO_MANIFEST = (
    "{path} does not exist. A bundle is a directory with a manifest.json in it: "
    "check the path, or write one with lm.bundle."
)
NOT_JSON = "{path} is not JSON: {reason}. " + RECOPY
WRONG_FORMAT = (
    "{path}: format should be {expected!r}, found {found!r}. "
    "Write the bundle again with a lamda that matches this serve, or the other way round."
)
WRONG_SHAPE = "{path}: {where} should be {expected}, found {found}. " + REBUILD
MISSING_KEY = "{path}: {where} should have the key {key!r}. " + REBUILD

OUTSIDE = (
    "{path}: the file {file!r} is outside the bundle. A path should be relative, with / between "
    "its parts, and stay inside {directory}, also through links. Do not load this bundle: "
    + REBUILD
)
UNREADABLE = (
    "{path} can not be read: {reason}. Expected a file that this process may read: check its "
    "permissions, or copy the bundle again."
)
TOO_DEEP = "{path}: expected a manifest of at most {most} levels, found a deeper one. " + REBUILD
OTHER_PROGRAM = (
    "{path} is another program: expected {expected}, as the manifest says, found {found}. "
    + REBUILD
)
MISSING_FILE = "{path} is missing, and the manifest names it. " + RECOPY
WRONG_SIZE = "{path} should be {expected} bytes, found {found}. " + RECOPY
WRONG_DIGEST = "{path} should have the digest {expected}, found {found}. " + RECOPY

NOT_SIGNED = (
    "{what} is not signed, and a signature is required. Sign it with lamda sign, or with "
    "lamda bundle --sign, or require no key."
)
OTHER_KEY = (
    "{what} is signed by other keys than those trusted: expected {wanted}, found {found}. Do not "
    "use it before you know whose key that is; then trust it by name."
)
CHANGED_PAYLOAD = (
    "the signature of {what} does not fit what it signs: one of them was changed. Do not use it; "
    "fetch it again from where it was signed."
)
OTHER_PAYLOAD = (
    "what is signed of {what} should be of type {expected}, found {found!r}. Sign it with lamda "
    "sign."
)
OTHER_STATEMENT = (
    "the signature of {what} should state {expected}, found {found}. It was made for something "
    "else: sign it with lamda sign."
)
OTHER_SUBJECT = (
    "the signature of {what} is of another one: expected sha256 {expected}, found {found}. Copy "
    "the signature that belongs to it, or sign it."
)
BAD_ENVELOPE = (
    "the signature of {what} can not be read: {why}. Copy it again, or sign with lamda sign."
)
NO_KEY = "the key {path} can not be read: {reason}. Give the path of a PEM file."
NO_KEYS = (
    "a signature is required and no key is trusted: name a PEM file in {variable}, or unset it"
)
NOT_PUBLIC = (
    "{path} should be an ed25519 public key in PEM form, found {found}. lamda keygen writes one, "
    "NAME.pub beside NAME.key."
)
NO_CRYPTOGRAPHY = "signatures need the package cryptography: pip install 'lamda[sign]'"

NO_PLUGIN = (
    "No PJRT plugin was found and jax is not installed, so nothing here can run the bundle {name}. "
    "Looked at LAMDA_PJRT_PLUGIN (not set) and for {known} on sys.path. Install a plugin, for "
    "example `pip install --no-deps lammps-jax-pjrt-cpu==0.11.2`, or set LAMDA_PJRT_PLUGIN to the "
    "path of a plugin's shared library."
)
PLUGIN_MISSING = (
    "{source} names the PJRT plugin {path}, which is not a file. "
    "Give the path of a plugin's shared library, or leave it out to search sys.path."
)
PLUGIN_UNLOADABLE = (
    "{path} is not a PJRT plugin that this machine can load: {reason}. Give the path of a "
    "shared library for this machine that exports GetPjrtApi."
)
PLUGIN_OTHER_ABI = (
    "{path} speaks PJRT {version}, this runtime speaks PJRT 0.x from 0.{oldest} on. "
    "Install another plugin, or a serve that knows this one."
)
PLUGIN_LACKS = (
    "{path} speaks PJRT {version}, which has no {function} yet. Install a newer plugin, "
    "or leave out what needs it: the target cpu:native needs the least."
)
PLUGIN_FAILED = "{function} failed in {path}: {message}"
LITTLE_MEMORY = (
    "{path} may take more addresses than this process is allowed, which would end it: expected a "
    "limit of at least {expected} KiB, found {found}. Raise it (ulimit -v), or lift it."
)
FEW_THREADS = (
    "{path} starts {expected} threads, which this process can not, and that would end it: the "
    "user's limit is {found} processes and threads. Raise it (ulimit -u)."
)
NO_DEVICE = "{path} has no device that this process can use. Install the plugin of this machine."
JAX_WITHOUT_CPU = (
    "No PJRT plugin was found, and jax can not run on this CPU, as JAX_PLATFORMS is {platforms!r}: "
    "{reason}. Unset it, or install a plugin."
)
JAX_FAILED = (
    "jax {version} can not run the program {path}: {reason}. Check that the bundle was written "
    "for this jax or an older one, or write it again with lm.bundle."
)
NO_RETARGET = (
    "{path} describes its machine in a way that is not known here: {reason}. "
    "Write the bundle with the target cpu:native, or with another plugin."
)
BUILD_FAILED = (
    "{path} could not compile the program: {reason}. Check that the plugin is for this machine "
    "and that its PJRT is not older than the StableHLO."
)
MEASURE_FAILED = (
    "{path} could not run the program to measure it: {reason}. Check that its executables are for "
    "this plugin and this machine."
)

NO_STREAM = "no such path: expected POST / or GET /, as this model does not stream its results"
WRONG_LINE = "expected an object, {wanted}, got {found}"
WRONG_LENGTH = "{where}: expected {dim} to be {expected} in {leaf}, got {found}"
WRONG_STEPS = 'input["n"]: expected a whole number from 0 to {most}, got {found}'
ONE_LINE = "expected the end of the request, which is one line with a state, got another line"
LONG_VALUE = "expected at most {most} bytes: send fewer elements at a time"
MANY_LINES = "expected at most {most} lines: go on from the state in another request"
EMPTY_STREAM = "the request ends before it says anything: expected {expected}"
SLOW_STREAM = (
    "expected the stream to end within {seconds:g} s: go on from the state in another request"
)

WRONG_COUNT = "program {index} of {name} takes {expected} inputs, got {found}"
WRONG_BYTES = "input {position} of program {index} of {name} takes {expected} bytes, got {found}"
CLOSED = "the engine of {name} is closed: open it again with serve.load"

NO_SUCC = (
    "no successor is known here: a version is never changed, so it knows who it is and its pred, "
    "not what came after it. lm.succ(model, weights) makes one, lamda log tells those in a store"
)
LONG = "expected at most {most} bytes: send fewer rows at a time"
LONG_UNPACKED = "expected fewer bytes, when the {coding} is unpacked: send fewer rows at a time"
LATE = (
    "expected an answer within {seconds:g} s: send fewer rows at a time, or give the server more "
    "time by LAMDA_MAX_SECONDS"
)
LATE_EVENT = (
    "expected an answer within {seconds:g} s, which is what Lambda left of the invocation: send "
    "fewer rows at a time, or give the function a longer timeout"
)
LATE_CALL = (
    "expected an answer within {seconds:g} s, which is what the client left of its call: send "
    "fewer rows at a time, or give the call a longer timeout"
)
CROWDED = "there are {most} requests under way already: try again, or start another instance"
NOT_READY = {
    "loading": "the programs of the model are being loaded: try again in a moment",
    "stopping": "this instance is about to end: ask another",
}
