"""What a class offers, read from its source, and whether another class stands in for it.

Laws:
- the source is read, never imported: the library may need a machine that this one is not;
- a stand-in takes what the real one takes, in the same order, by the same names, in the same ways
  and with the same defaults; it may leave out only what the real one does not need;
- a caller's wish is granted by a signature where every call that the wish allows is allowed.

Signatures are without `self`. A default that is no literal (`libcamera.Transform()`) is kept as its
text and equals every default: what it is worth only the real library knows.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from typing import Any, Final

_POSITIONAL: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME: Final = (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Computed:
    """A default that is known as its text only."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A class seen from outside: its methods, and the attributes that an instance has besides."""

    methods: Mapping[str, Signature]
    attributes: frozenset[str]


def read_class(module: ast.Module, name: str) -> Surface:
    """Return the surface of the class `name`.

    Raises:
        LookupError: the module has no such class.
    """
    found = [each for each in module.body if isinstance(each, ast.ClassDef) and each.name == name]
    if not found:
        raise LookupError(f"no class {name}")
    methods: dict[str, Signature] = {}
    attributes = set(_assigned(found[0]))
    for function in found[0].body:
        if not isinstance(function, ast.FunctionDef):
            continue
        marks = {ast.unparse(mark) for mark in function.decorator_list}
        if marks & {"property", f"{function.name}.setter"}:
            attributes.add(function.name)
        elif "overload" not in marks:
            methods[function.name] = _signature(function, bound="staticmethod" not in marks)
    return Surface(methods=methods, attributes=frozenset(attributes))


def offered(thing: object) -> Surface:
    """Return the surface of an instance of ours, its public names only."""
    kind = type(thing)
    names = {name for name in (*dir(kind), *vars(thing)) if not name.startswith("_")}
    methods = {name: bound(kind, name) for name in names if callable(getattr(kind, name, None))}
    return Surface(methods=methods, attributes=frozenset(names - set(methods)))


def bound(kind: type, name: str) -> Signature:
    """Return the signature of a method of ours without its `self`."""
    whole = signature(getattr(kind, name))
    return whole.replace(parameters=list(whole.parameters.values())[1:])


def stand_in_faults(real: Signature, ours: Signature) -> list[str]:
    """Return what keeps `ours` from standing in for `real`, in words; nothing where it does."""
    theirs = list(real.parameters.values())
    said = []
    for place, mine in enumerate(ours.parameters.values()):
        if place >= len(theirs) or theirs[place].name != mine.name:
            said.append(f"{mine.name}: not parameter {place} of the real one")
            continue
        if theirs[place].kind != mine.kind:
            said.append(f"{mine.name}: passed in another way than to the real one")
        if not _same_default(theirs[place].default, mine.default):
            said.append(f"{mine.name}: {mine.default} by default, not {theirs[place].default}")
    return said + _missed(real, set(ours.parameters))


def wish_faults(real: Signature, wished: Signature) -> list[str]:
    """Return which calls that `wished` allows `real` refuses, in words."""
    theirs = list(real.parameters.values())
    said = []
    for place, wish in enumerate(wished.parameters.values()):
        granted = real.parameters.get(wish.name)
        if granted is None or granted.kind not in _BY_NAME:
            said.append(f"{wish.name}: no such name")
            continue
        if wish.kind in _POSITIONAL and (
            granted.kind not in _POSITIONAL or theirs.index(granted) != place
        ):
            said.append(f"{wish.name}: not at place {place}")
        if wish.default is not Parameter.empty and granted.default is Parameter.empty:
            said.append(f"{wish.name}: needed")
    return said + _missed(real, set(wished.parameters))


def names_in(modules: list[ast.Module]) -> frozenset[str]:
    """Return every text and every attribute's name in the sources."""

    def found() -> Iterator[str]:
        for node in (node for module in modules for node in ast.walk(module)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            if isinstance(node, ast.Attribute):
                yield node.attr

    return frozenset(found())


def function_in(module: ast.Module, name: str) -> ast.FunctionDef:
    """Return the last function or method of that name, past its overloads.

    Raises:
        LookupError: there is none.
    """
    found = [
        each for each in ast.walk(module) if isinstance(each, ast.FunctionDef) and each.name == name
    ]
    if not found:
        raise LookupError(f"no function {name}")
    return found[-1]


def literals(node: ast.AST) -> list[Any]:
    """Return every literal below a node; what is computed is left out."""
    values = [_value(each) for each in ast.walk(node) if isinstance(each, ast.expr)]
    return [value for value in values if not isinstance(value, Computed)]


def _assigned(node: ast.ClassDef) -> Iterator[str]:
    for each in ast.walk(node):
        match each:
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name


def _signature(function: ast.FunctionDef, *, bound: bool) -> Signature:
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    defaults = [Parameter.empty] * (len(positional) - len(given.defaults))
    parameters = [
        Parameter(
            each.arg,
            Parameter.POSITIONAL_ONLY if each in given.posonlyargs else _POSITIONAL[1],
            default=default,
        )
        for each, default in zip(positional, [*defaults, *map(_value, given.defaults)], strict=True)
    ]
    if given.vararg:
        parameters.append(Parameter(given.vararg.arg, Parameter.VAR_POSITIONAL))
    parameters += [
        Parameter(
            each.arg,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if default is None else _value(default),
        )
        for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    if given.kwarg:
        parameters.append(Parameter(given.kwarg.arg, Parameter.VAR_KEYWORD))
    return Signature(parameters[1:] if bound else parameters)


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return Computed(ast.unparse(node))


def _same_default(theirs: object, ours: object) -> bool:
    if isinstance(theirs, Computed):
        return ours is not Parameter.empty
    # A bool is an int in Python, yet no car would call a queue 1.
    return theirs == ours and isinstance(theirs, bool) == isinstance(ours, bool)


def _missed(real: Signature, given: set[str]) -> list[str]:
    return [
        f"{each.name}: the real one needs it"
        for each in real.parameters.values()
        if each.name not in given
        and each.default is Parameter.empty
        and each.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    ]
