"""Commands that make keys, and sign: keygen, sign."""

import argparse

from lamda.cli.arguments import Command, is_bundle, record_of, store_of, tell


def add(command: Command, in_store: Command) -> None:
    """The commands that make keys, and sign."""
    keygen = command(
        "keygen", _keygen, "make a key: NAME.key signs, NAME.pub verifies", "lamda keygen release"
    )
    keygen.add_argument("name", metavar="NAME", help="where to write the key, without a suffix")
    keygen.add_argument("--json", action="store_true", help="write JSON")
    sign = in_store(
        "sign",
        _sign,
        "sign a version, or a bundle that is there",
        "lamda sign news --key release.key --store store",
        bundled=True,
    )
    sign.add_argument("--key", required=True, metavar="KEY", help="a private key, a PEM file")


def _keygen(chosen: argparse.Namespace) -> None:
    from lamda.sign import keygen

    made = {"keyid": keygen(chosen.name), "key": f"{chosen.name}.key", "pub": f"{chosen.name}.pub"}
    tell(chosen, made, ["{keyid}  {key} and {pub}".format(**made)])


def _sign(chosen: argparse.Namespace) -> None:
    from lamda.compile.signing import sign_bundle

    sign = sign_bundle if is_bundle(chosen) else store_of(chosen).sign
    made = {"who": record_of(chosen)["address"], "keyid": sign(chosen.ref, chosen.key)}
    tell(chosen, made, ["{who}  signed by {keyid}".format(**made)])
