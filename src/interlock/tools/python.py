"""Python functions as tools: JSON Schema from the type hints, words from the docstring, arguments bound to parameters.

Not the gateway: it is called with arguments that were weighed, and it times nothing. Law: whatever `problem` lets pass,
`perform` can bind; the function gets what was validated, in the Python type of the hint, and nothing else; what is not
the model's to say (a credential, the call's own facts, what a `partial` has fixed) is in no schema.

What the hints mean: unknown arguments are refused, inside models and dataclasses too, so that nothing is dropped
unseen. A parameter without a default is required. `1.0` is an integer (JSON has one kind of number) and arrives as the
int 1; an integer for a `float` arrives as a float up to 2^53, and as the int that it is beyond, so that no
digit is lost. `datetime` and `time` want ISO 8601; bare numbers are refused. A parameter without a hint takes any JSON.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from interlock.core.call import Effect, Risk, Tool
from interlock.errors import NotDone, ToolError
from interlock.ports import CallInfo, Invocation
from interlock.tools.explain import clip, did_you_mean
from interlock.tools.hints import NONE, UNSAID, Argument, Convert, fast, misfits, schema_of, words_of
from interlock.tools.schema import ArgumentSchema


class Credential(str):
    """Annotates the parameter that gets the lent credential. The text itself, except that no repr shows it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Credential([redacted])"


class PythonTool:
    """A Python function, sync or async, as a `ports.Performer`."""

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str,
        effect: Effect | str | None = None,
        risk: Risk | str | None = None,
        description: str | None = None,
        timeout: int | None = None,
        **fields: Any,
    ) -> None:
        """`timeout` (microseconds) and `fields` are those of `core.call.Tool`. Undeclared, a tool is irreversible."""
        target = _target(fn, name)
        arguments, self._infos, self._credentials = _parameters(fn, target, name)
        words, about = words_of(fn, target)
        schema, adapters = schema_of(arguments, about, name)
        self._fn = fn
        self._schema = ArgumentSchema(schema, tool=name, formats=True)
        self._adapters = adapters
        plain = ((each.name, fast(each.hint)) for each in arguments if each.name not in adapters)
        self._converters: list[tuple[str, Convert]] = [(each, convert) for each, convert in plain if convert]
        self._converters += adapters.items()
        self._late = [(each.name, each.late) for each in arguments if each.late is not None]
        self._bare = not (self._converters or self._late or self._infos or self._credentials)
        self.is_async = _is_async(fn)
        self.tool = _tool(
            name,
            {
                **fields,
                "effect": Effect.IRREVERSIBLE if effect is None else effect,
                "risk": Risk.MEDIUM if risk is None else risk,
                "description": words if description is None else description,
                "timeout": timeout,
                "schema": schema,
            },
        )

    @property
    def needs_credential(self) -> bool:
        """True where a parameter without a default is annotated `Credential`: the tool cannot be performed without."""
        return "" in self._credentials.values()

    def problem(self, args: Mapping[str, Any]) -> str | None:
        """Why these arguments do not fit, or None. Values that the schema cannot judge are tried on the hint's type."""
        wrong = self._schema.problem(args)
        if wrong is not None or not self._adapters:
            return wrong
        said: list[str] = []
        for name, convert in self._adapters.items():
            if name in args:
                try:
                    convert(args[name])
                except Exception as error:  # a validator of the user's may raise anything
                    said += misfits(name, error)
        return f"{self.tool.name}: {'; '.join(said[:5])}" if said else None

    def perform(self, invocation: Invocation) -> Any | Awaitable[Any]:
        """Call the function. What cannot be bound raises NotDone, before anything has happened."""
        fn = self._fn
        value = fn(**invocation.args) if self._bare else fn(**self._bound(invocation))
        if type(value) is types.CoroutineType and not self.is_async:
            value.close()
            raise ToolError(f"tool {self.tool.name!r} gave a coroutine; declare the function with `async def`")
        return value

    def _bound(self, invocation: Invocation) -> dict[str, Any]:
        bound = dict(invocation.args)
        try:
            for name, convert in self._converters:
                if name in bound:
                    bound[name] = convert(bound[name])
            for name, late in self._late:
                if name not in bound:
                    bound[name] = late()
        except Exception as error:
            why = "; ".join(misfits("an argument", error))
            raise NotDone(f"the arguments of {self.tool.name} cannot be bound: {clip(why, 500)}") from None
        for name in self._infos:
            bound[name] = invocation.info
        for name, otherwise in self._credentials.items():
            if invocation.credential is not None:
                bound[name] = Credential(invocation.credential)
            elif otherwise == "":
                raise NotDone(f"{self.tool.name} was lent no credential; name one in the config, tools: … credential:")
            elif otherwise == "null":
                bound[name] = None
        return bound

    def __repr__(self) -> str:
        return f"PythonTool({self.tool.name!r})"


# --- what the function is --------------------------------------------------------------------------------------------


def _target(fn: Any, tool: str) -> Any:
    """The function behind partials and callable objects: where hints and docstring are."""
    if isinstance(fn, type) or not callable(fn):
        raise ToolError(f"tool {tool!r}: {fn!r:.80} is not a function; register a function or a callable object")
    target = fn
    while isinstance(target, functools.partial):
        target = target.func
    if not inspect.isroutine(target):
        target = target.__call__
    plain = inspect.unwrap(target)
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise ToolError(f"tool {tool!r}: a generator is not a tool; return a list, or one text")
    return target


def _is_async(fn: Any) -> bool:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)


def _parameters(fn: Any, target: Any, tool: str) -> tuple[list[Argument], list[str], dict[str, str]]:
    """The arguments that a model fills, the parameters that get the CallInfo, and those that get the credential
    (with what stands in where none is lent: "" nothing, "null" None, "default" its default)."""
    try:
        parameters = inspect.signature(fn).parameters
    except (TypeError, ValueError):
        raise ToolError(f"tool {tool!r}: the parameters of {fn!r:.80} cannot be read; wrap it in a function") from None
    hints = _hints(target, tool)
    fixed = fn.keywords if isinstance(fn, functools.partial) else {}
    arguments: list[Argument] = []
    infos: list[str] = []
    credentials: dict[str, str] = {}
    for name, parameter in parameters.items():
        _refuse_kind(parameter, tool)
        if name in fixed:  # the program has decided it; a model shall not
            continue
        hint = hints.get(name, Any)
        if _mentions(hint, CallInfo):
            infos.append(name)
        elif _mentions(hint, Credential):
            without = "null" if type(None) in get_args(hint) else ""
            credentials[name] = without if parameter.default is NONE else "default"
        else:
            arguments.append(_argument(name, hint, parameter.default))
    return arguments, infos, credentials


def _refuse_kind(parameter: inspect.Parameter, tool: str) -> None:
    if parameter.kind is parameter.POSITIONAL_ONLY:
        remedy = "arguments come by name; remove the '/'"
    elif parameter.kind is parameter.VAR_POSITIONAL:
        remedy = "arguments come by name; take one parameter that is a list"
    elif parameter.kind is parameter.VAR_KEYWORD:
        remedy = "a model must be told what it may send; name each parameter, or take one parameter that is a dict"
    else:
        return
    shown = str(parameter.replace(annotation=NONE, default=NONE))
    raise ToolError(f"tool {tool!r}: parameter {shown!r}: {remedy}")


def _argument(name: str, hint: Any, default: Any) -> Argument:
    from pydantic.fields import FieldInfo

    if isinstance(default, FieldInfo):  # `x: int = Field(3, ge=1)`
        hint, default = Annotated[hint, default], NONE
    if default is not NONE or get_origin(hint) is not Annotated:
        return Argument(name, hint, default)
    for extra in get_args(hint)[1:]:
        if isinstance(extra, FieldInfo) and not extra.is_required():
            give = functools.partial(extra.get_default, call_default_factory=True, validated_data={})
            return Argument(name, hint, UNSAID if extra.default_factory else extra.default, give)
    return Argument(name, hint, default)


def _hints(target: Any, tool: str) -> dict[str, Any]:
    try:
        return get_type_hints(target, localns=_enclosing(target), include_extras=True)
    except NameError as error:
        raise ToolError(
            f"tool {tool!r}: a type hint names {error.name!r}, which cannot be found; import it at the top of the "
            "module, not under TYPE_CHECKING"
        ) from None
    except Exception as error:  # a hint is any expression, and may raise anything
        raise ToolError(f"tool {tool!r}: its type hints cannot be read: {error}") from None


def _enclosing(target: Any) -> dict[str, Any] | None:
    """The local names around a function that is being defined inside another: hints are texts, and may name them."""
    home, found, _ = getattr(target, "__qualname__", "").rpartition(".<locals>.")
    frame = sys._getframe() if found else None
    while frame is not None:
        if frame.f_code.co_qualname == home and frame.f_globals is getattr(target, "__globals__", None):
            return dict(frame.f_locals)
        frame = frame.f_back
    return None


def _mentions(hint: Any, marker: type) -> bool:
    """True where a hint is the marker, or a choice with it: such a parameter is never a model's to fill."""
    if get_origin(hint) is Annotated:
        return _mentions(get_args(hint)[0], marker)
    if get_origin(hint) in (Union, types.UnionType):
        return any(_mentions(member, marker) for member in get_args(hint))
    return isinstance(hint, type) and issubclass(hint, marker)


def _tool(name: str, fields: dict[str, Any]) -> Tool:
    for key in fields:
        if key not in Tool.__struct_fields__ or key in ("name", "schema_digest"):
            raise ToolError(f"tool {name!r}: there is no {key!r}{did_you_mean(key, Tool.__struct_fields__)}")
    for key, kind in (("effect", Effect), ("risk", Risk)):
        try:
            fields[key] = kind(fields[key])
        except ValueError:
            near = did_you_mean(str(fields[key]), [*kind])
            raise ToolError(f"tool {name!r}: {key} is one of {', '.join(kind)}, not {fields[key]!r}{near}") from None
    tool = Tool(name=name, **fields)
    properties = tool.schema.get("properties", {})
    named = [(each, f"arguments= gives a role to {each!r}") for each in tool.arguments]
    named += [(tool.cost.argument, f"cost= is in {tool.cost.argument!r}")] if tool.cost.argument else []
    for argument, said in named:
        if argument not in properties:
            near = did_you_mean(argument, properties)
            raise ToolError(f"tool {name!r}: {said}, which is none of its arguments{near}")
    return tool
