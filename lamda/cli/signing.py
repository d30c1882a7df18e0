"""Commands that make keys, and sign: keygen, sign."""

import argparse

from lamda.cli.arguments import Command, is_bundle, record_of, store_of


def add(command: Command, in_store: Command) -> None:
    """The commands that make keys, and sign."""
    keygen = command(
        "keygen", _keygen, "make a key: NAME.key signs, NAME.pub verifies", "lamda keygen release"
    )
    keygen.add_argument("name", metavar="NAME", help="where to write the key, without a suffix")
    sign = in_store(
        "sign",
        _sign,
        "sign a version, or a bundle that is there",
        "lamda sign news --key release.key --store store",
    )
    sign.add_argument("--key", required=True, metavar="KEY", help="a private key, a PEM file")


def _keygen(chosen: argparse.Namespace) -> None:
    from lamda.sign import keygen

    print(f"{keygen(chosen.name)}  {chosen.name}.key and {chosen.name}.pub")


def _sign(chosen: argparse.Namespace) -> None:
    from lamda.compile.signing import sign_bundle

    bundled = is_bundle(chosen.ref)
    sign = sign_bundle if bundled else store_of(chosen).sign
    print(f"{record_of(chosen)['address']}  signed by {sign(chosen.ref, chosen.key)}")
