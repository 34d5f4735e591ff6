"""What compares signatures notices every change of one."""

import ast
from inspect import Parameter, Signature

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.signatures import read_class, stand_in_faults, wish_faults

_REAL = """
class Camera:
    FAST = True

    def __init__(self, number=0):
        self.callback = None

    @property
    def model(self):
        return self._model

    @overload
    def capture(self, wait: None = ...) -> Request: ...

    def capture(self, wait=None, /, name="main", *, queue=True, transform=lib.Transform(), **more):
        pass

    @staticmethod
    def cameras(sort=False):
        pass
"""

_NAMES = st.sampled_from(["main", "lores", "controls", "buffer_count", "queue", "name"])
_DEFAULTS: st.SearchStrategy[object] = st.sampled_from(
    [Parameter.empty, None, {}, "main", 6, True, False]
)


@st.composite
def signatures(draw: st.DrawFn) -> Signature:
    """Signatures such as a camera's methods have: names by position, then names only."""
    names = draw(st.lists(_NAMES, unique=True, min_size=1))
    cut = draw(st.integers(0, len(names)))
    defaults = [draw(_DEFAULTS) for _ in names]
    # Python wants the parameters with a default last, of those given by position.
    needed = [each for each in defaults[:cut] if each is Parameter.empty]
    optional = [each for each in defaults[:cut] if each is not Parameter.empty]
    parameters = [
        Parameter(
            name,
            Parameter.POSITIONAL_OR_KEYWORD if place < cut else Parameter.KEYWORD_ONLY,
            default=default,
        )
        for place, (name, default) in enumerate(
            zip(names, [*needed, *optional, *defaults[cut:]], strict=True)
        )
    ]
    return Signature(parameters)


@given(signatures())
def test_a_signature_stands_in_for_itself_and_grants_its_own_wish(real: Signature) -> None:
    assert stand_in_faults(real, real) == []
    assert wish_faults(real, real) == []


@given(signatures(), st.data())
def test_a_renamed_parameter_is_noticed(real: Signature, data: st.DataObject) -> None:
    parameters = list(real.parameters.values())
    place = data.draw(st.integers(0, len(parameters) - 1))
    parameters[place] = parameters[place].replace(name="renamed")
    changed = real.replace(parameters=parameters)
    assert stand_in_faults(changed, real) != []
    assert wish_faults(changed, real) != []


@given(signatures(), st.data())
def test_a_changed_default_is_noticed(real: Signature, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(real.parameters)))
    changed = [
        each.replace(default="another", kind=Parameter.KEYWORD_ONLY)
        if each.name == name
        else each.replace(kind=Parameter.KEYWORD_ONLY)
        for each in real.parameters.values()
    ]
    same = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in real.parameters.values()]
    assert stand_in_faults(Signature(changed), Signature(same)) != []


@given(signatures())
def test_a_new_parameter_is_noticed_where_it_is_needed(real: Signature) -> None:
    new = Parameter("new", Parameter.KEYWORD_ONLY)
    needs = real.replace(parameters=[*real.parameters.values(), new])
    offers = real.replace(parameters=[*real.parameters.values(), new.replace(default=1)])
    assert stand_in_faults(needs, real) == ["new: the real one needs it"]
    assert wish_faults(needs, real) == ["new: the real one needs it"]
    assert stand_in_faults(offers, real) == wish_faults(offers, real) == []
    assert stand_in_faults(real, offers) != []
    assert wish_faults(real, offers) == ["new: no such name"]


@pytest.mark.parametrize(
    "changed",
    [
        "def f(lores, main): ...",
        "def f(*, main, lores): ...",
        "def f(main, /, lores): ...",
        "def f(main): ...",
    ],
)
def test_another_order_or_way_is_noticed(changed: str) -> None:
    def read(text: str) -> Signature:
        body = text.replace("def f(", "def f(self, ")
        return read_class(ast.parse(f"class C:\n    {body}"), "C").methods["f"]

    ours = read("def f(main, lores): ...")
    assert stand_in_faults(read(changed), ours) != []
    assert wish_faults(read(changed), ours) != []


def test_a_default_tells_true_from_one() -> None:
    def queued(by_default: object) -> Signature:
        return Signature([Parameter("queue", Parameter.KEYWORD_ONLY, default=by_default)])

    assert stand_in_faults(queued(True), queued(1)) != []


def test_a_class_is_read_as_python_would_build_it() -> None:
    surface = read_class(ast.parse(_REAL), "Camera")
    assert set(surface.methods) == {"__init__", "capture", "cameras"}
    assert {"callback", "model"} <= surface.attributes
    capture = surface.methods["capture"].parameters
    assert list(capture) == ["wait", "name", "queue", "transform", "more"]
    assert capture["wait"].kind == Parameter.POSITIONAL_ONLY
    assert capture["name"].default == "main"
    assert capture["queue"].kind == Parameter.KEYWORD_ONLY
    assert list(surface.methods["cameras"].parameters) == ["sort"]
    ours = Signature([*capture.values()][:4])
    assert stand_in_faults(surface.methods["capture"], ours) == []


def test_a_class_that_is_not_there_is_said() -> None:
    with pytest.raises(LookupError, match="no class Lens"):
        read_class(ast.parse(_REAL), "Lens")
