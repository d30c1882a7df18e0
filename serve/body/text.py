"""`tokenise(texts)` is the input of a model that reads text: token ids, and which are real."""

from __future__ import annotations

from serve.body.lists import from_lists, shown
from serve.errors import BundleError, RequestError
from serve.types import leaves

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from serve.arrays import Array
    from serve.types import Leaf, Type

MOST = 65_536  # texts in one request: the largest batch


def tokeniser(data: bytes, text: dict[str, Any], of: Type) -> Callable[[list[str]], list[Array]]:
    """The function from texts to the leaves of the input.

    `data` is a Hugging Face tokenizer.json, `text` the manifest's entry, `of` the input type.

    Raises:
        BundleError: the package tokenizers is missing, or the bundle can not be served as text.
    """
    tokenizer = _tokenizer(data)
    # A tokenizer.json often has a length and a fixed padding of its own baked in.
    tokenizer.enable_truncation(text["max_length"])
    tokenizer.no_padding()
    ids = tuple(text["ids"])
    mask = None if text["mask"] is None else tuple(text["mask"])
    wanted = list(leaves(of))
    for leaf in wanted:
        if leaf.path not in (ids, mask) or leaf.dims != (text["batch"], text["length"]):
            raise BundleError(
                f"text makes {text['ids']} and {text['mask']} of shape "
                f"[{text['batch']}, {text['length']}], but {leaf.where} is {leaf}"
            )

    def tokenise(texts: list[str]) -> list[Array]:
        try:
            found = tokenizer.encode_batch(texts)
        except Exception as error:  # tokenizers raises nothing more precise
            raise RequestError(f'input["text"]: can not be tokenised: {error}') from None
        rows = {ids: [one.ids for one in found], mask: [one.attention_mask for one in found]}
        longest = max(1, *map(len, rows[ids]))
        return [_pad(rows[leaf.path], leaf, longest) for leaf in wanted]

    return tokenise


def texts(value: Any) -> list[str] | None:
    """The texts of `{"text": "one"}` or `{"text": ["one", "two"]}`; None for any other value.

    Raises:
        RequestError: it has that form, but not texts in it.
    """
    if type(value) is not dict or set(value) != {"text"}:
        return None
    found = value["text"] if type(value["text"]) is list else [value["text"]]
    if not 0 < len(found) <= MOST:
        text = f'input["text"]: expected from 1 to {MOST} texts'
        raise RequestError(f"{text}, got {shown(value['text'])}")
    for i, text in enumerate(found):
        where = 'input["text"]' + (f"[{i}]" if type(value["text"]) is list else "")
        if type(text) is not str:
            raise RequestError(f"{where}: expected a text, got {shown(text)}")
        if not _encodable(text):
            raise RequestError(f"{where}: expected Unicode text, got half of a surrogate pair")
    return found


def plain(body: bytes) -> dict[str, str]:
    """A text/plain request as the value that it is short for."""
    try:
        return {"text": body.decode("utf-8-sig")}
    except UnicodeDecodeError as error:
        raise RequestError(f"the request is not UTF-8: {error.reason}") from None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _tokenizer(data: bytes) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise BundleError(
            "the bundle reads text, which takes the package tokenizers: "
            'install it, or "lamda[text]"'
        ) from None
    try:
        return Tokenizer.from_str(data.decode())
    except Exception as error:  # tokenizers raises nothing more precise
        raise BundleError(f"the tokenizer of the bundle can not be read: {error}") from None


def _pad(rows: list[list[int]], leaf: Leaf, longest: int) -> Array:
    kind = bool if leaf.dtype == "bool" else int
    padded = [list(map(kind, row)) + [kind()] * (longest - len(row)) for row in rows]
    return from_lists(padded, leaf)
