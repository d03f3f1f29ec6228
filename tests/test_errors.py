"""The tree of errors: stable codes, sentences from data, and copies that say the same."""

from __future__ import annotations

import copy
import inspect
import pickle
import string
import traceback

import pytest

from statecore import errors
from statecore.errors import CODES, AdapterMissing, NetworkError, PeerError, StatecoreError, UsageError, from_code

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, StatecoreError)]
each_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def _fields(cls: type[StatecoreError]) -> list[str]:
    """The data that the class's sentence and advice mention."""
    text = cls.template + (cls.advice if issubclass(cls, AdapterMissing) else "")
    return sorted({name for _, name, _, _ in string.Formatter().parse(text) if name})


def test_codes_are_unique_and_complete() -> None:
    """Every class of the tree has a code of its own, and `CODES` leads to each."""
    assert len({cls.code for cls in CLASSES}) == len(CLASSES)
    assert {cls.code: cls for cls in CLASSES} == CODES


@each_class
def test_a_class_names_the_module_that_it_is_imported_from(cls: type[StatecoreError]) -> None:
    """Whatever file it stands in, a traceback says `statecore.errors` and its name."""
    assert traceback.format_exception_only(cls("so"))[0].startswith(f"statecore.errors.{cls.__name__}: so")


@each_class
def test_a_class_says_what_it_is(cls: type[StatecoreError]) -> None:
    """Each class has a docstring of its own, a code in small letters, and a sentence of advice."""
    assert cls.__dict__["__doc__"].strip().endswith(".")
    assert cls.__dict__["code"] == cls.code.lower().replace(" ", "_")
    assert cls.advice.rstrip().endswith((".", "}"))
    assert isinstance(cls.retryable, bool)


@each_class
def test_the_sentence_is_made_from_data(cls: type[StatecoreError]) -> None:
    """With its data, the sentence shows every piece of it and no placeholder, and each piece is an attribute."""
    data = {name: f"the-{name}" for name in _fields(cls)}
    error = cls(**data)
    assert "{" not in str(error)
    for name, value in data.items():
        assert value in str(error)
        assert getattr(error, name) == value


@each_class
def test_making_an_error_never_fails(cls: type[StatecoreError]) -> None:
    """Without its data, the sentence keeps the placeholders; with a text, it is the text."""
    for name in _fields(cls):
        assert "{" + name in str(cls()) or "{" + name + "!r}" in cls.template
    assert str(cls())
    assert str(cls("just so")).startswith("just so")
    with pytest.raises(AttributeError):
        _ = cls().nothing_of_the_kind


@each_class
def test_copies_say_the_same(cls: type[StatecoreError]) -> None:
    """An error that is pickled or copied keeps class, data and sentence."""
    error = cls(**{name: name for name in _fields(cls)}, more=1)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301 - our own
        assert type(twin) is cls
        assert (str(twin), twin.data) == (str(error), error.data)
        assert twin.more == 1


@each_class
def test_an_error_is_rebuilt_from_its_code(cls: type[StatecoreError]) -> None:
    """What a receiver makes of code and data is the error that was sent."""
    data = {name: name for name in _fields(cls)}
    twin = from_code(cls.code, **data)
    assert type(twin) is cls
    assert str(twin) == str(cls(**data))
    assert from_code(cls.code, "told so").detail == "told so"


def test_an_unknown_code_is_the_root() -> None:
    """A code from a later version still arrives as an error of ours, with its text."""
    error = from_code("from_the_future", "something new")
    assert type(error) is StatecoreError
    assert str(error) == "something new"


@each_class
def test_blame_is_one_of_three(cls: type[StatecoreError]) -> None:
    """Every class but the root is yours, theirs, or the network's, and never two of these."""
    blamed = [blame for blame in (UsageError, PeerError, NetworkError) if issubclass(cls, blame)]
    assert len(blamed) == (0 if cls is StatecoreError else 1)


def test_a_missing_adapter_says_how_to_get_it() -> None:
    """The sentence names the missing part and the command that installs it; it is an ImportError as well."""
    error = AdapterMissing(what="aiortc", extra="'statecore[aiortc]'")
    assert str(error) == "aiortc is not installed; Install it: pip install 'statecore[aiortc]'"
    assert isinstance(error, ImportError)


def test_standard_kinds_are_kept() -> None:
    """Who catches ValueError, TimeoutError, ConnectionError or ImportError gets ours too, by the fitting name."""
    kinds = {"blank_id": ValueError, "command_timeout": TimeoutError, "media_timeout": TimeoutError}
    kinds |= {"signaling_lost": ConnectionError, "adapter_missing": ImportError, "malformed_message": ValueError}
    assert all(issubclass(CODES[code], kind) for code, kind in kinds.items())


def test_all_names_are_exported() -> None:
    """`__all__` lists every class, the table of codes and `from_code`, and nothing else."""
    assert set(errors.__all__) == {cls.__name__ for cls in CLASSES} | {"CODES", "from_code"}
