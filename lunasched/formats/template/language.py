"""The language of templates: Jinja2's parser, and what of it there is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jinja2
from jinja2 import nodes, sandbox
from jinja2.visitor import NodeTransformer

from lunasched.errors import InvalidInput, TemplateFailed, near
from lunasched.formats.template.filters import FILTERS, check_length, text_of

_WORK_MAX = 2_000_000
"""Characters that the filters of a template read and write together."""
_DEPTH_MAX = 50
_TESTS = ("defined", "none", "number", "string", "even", "odd")

_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.If,
    nodes.CondExpr, nodes.For, nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.And,
    nodes.Or, nodes.Not, nodes.Concat, nodes.Getitem, nodes.Slice, nodes.Getattr, nodes.Add,
    nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos, nodes.List,
    nodes.Keyword,
)  # fmt: skip
_WORDS: Mapping[type[nodes.Node], str] = {
    nodes.Call: "a call", nodes.Pow: "**", nodes.Assign: "set", nodes.AssignBlock: "set",
    nodes.Macro: "macro", nodes.CallBlock: "call", nodes.Include: "include",
    nodes.Import: "import", nodes.FromImport: "import", nodes.Extends: "extends",
    nodes.Block: "block", nodes.FilterBlock: "filter", nodes.With: "with", nodes.Dict: "a mapping",
}  # fmt: skip


class _Environment(sandbox.ImmutableSandboxedEnvironment):
    """Jinja2's sandbox, and in it what the language above has."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%"])

    def __init__(self) -> None:
        super().__init__(
            undefined=jinja2.StrictUndefined,
            finalize=text_of,
            keep_trailing_newline=True,
            trim_blocks=True,
            optimized=False,
            cache_size=0,
        )
        self.filters = {name: self._limited(function) for name, function in FILTERS.items()}
        self.tests = {name: self.tests[name] for name in _TESTS}
        self.globals = {}
        self._work = 0

    def _limited(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def limited(value: Any, *arguments: Any, **named: Any) -> Any:
            result = function(value, *arguments, **named)
            for one in (value, result):
                self._work += len(one) if isinstance(one, (str, list)) else 1
            if isinstance(result, str):
                check_length(len(result))
            if self._work > _WORK_MAX:
                raise TemplateFailed("it takes too many steps")
            return result

        return limited

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any
    ) -> Any:
        """Arithmetic is for numbers: ``'x' * 10 ** 9`` and ``'%999999999d' % 1`` are texts."""
        if not (isinstance(left, (int, float)) and isinstance(right, (int, float))):
            raise TemplateFailed(f"{operator} is for numbers; texts are joined by ~")
        return super().call_binop(context, operator, left, right)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An index or a slice; Jinja2 takes texts for names of attributes."""
        if not isinstance(argument, (int, slice)):
            raise TemplateFailed(f"there is no [{argument!r}]")
        return obj[argument]


class _Joined(NodeTransformer):
    """Lets ``~`` have the limits of filters."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802, called by this name
        """The same by the filter ``join``."""
        parts = nodes.List([self.visit(one) for one in node.nodes], lineno=node.lineno)
        return nodes.Filter(parts, "join", [], [], None, None, lineno=node.lineno)


def filled(text: str, variables: Mapping[str, object]) -> str:
    """Fill in a template with some variables; raises ``TemplateFailed``."""
    try:
        found = ""
        for part in compiled_template(text, variables).generate(**variables):
            found += part
            check_length(len(found))
    except InvalidInput as error:
        raise TemplateFailed(str(error)) from None
    except (jinja2.TemplateError, ArithmeticError, TypeError, ValueError, LookupError) as error:
        raise TemplateFailed(str(error).partition("\n")[0]) from None
    return found


def compiled_template(text: str, variables: Collection[str]) -> jinja2.Template:
    """The template of a text that may use some variables; raises ``InvalidInput``."""
    try:
        environment = _Environment()
        template = environment.parse(text)
        _check_node(template, frozenset(variables), 0, in_loop=False)
        _Joined().visit(template)
        return environment.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise InvalidInput(f"not a valid template: line {error.lineno}: {error.message}") from None
    except (jinja2.TemplateError, SyntaxError, ValueError) as error:
        raise InvalidInput(f"not a valid template: {error}") from None
    except (RecursionError, MemoryError, OverflowError):
        raise InvalidInput("not a valid template: it is nested too deeply") from None


def _check_node(node: nodes.Node, known: frozenset[str], depth: int, *, in_loop: bool) -> None:
    if depth > _DEPTH_MAX:
        raise InvalidInput("not a valid template: it is nested too deeply")
    problem = _problem(node, known, in_loop)
    if problem:
        raise InvalidInput(f"not a valid template: line {node.lineno}: {problem}")
    if isinstance(node, nodes.For):
        targets = [node.target, *node.target.find_all(nodes.Name)]
        names = {one.name for one in targets if isinstance(one, nodes.Name)}
        known, in_loop = known | names | {"loop"}, True
    for child in node.iter_child_nodes():
        _check_node(child, known, depth + 1, in_loop=in_loop)


def _problem(node: nodes.Node, known: frozenset[str], in_loop: bool) -> str:
    match node:
        case nodes.For() if in_loop or node.recursive:
            return "a loop cannot be inside another"
        case nodes.For() if not _is_list(node.iter):
            return "a loop is over output_lines, a part of it, or a list"
        case nodes.Name() if node.name not in known:
            return f"there is no variable {node.name!r}{near(node.name, known)}"
        case nodes.Filter() if node.name not in FILTERS or node.dyn_args or node.dyn_kwargs:
            return f"there is no filter {node.name!r}{near(node.name, FILTERS)}"
        case nodes.Test() if node.name not in _TESTS:
            return f"there is no test {node.name!r}{near(node.name, _TESTS)}"
        case nodes.Getattr() if not _is_loop(node.node):
            return f"nothing here has .{node.attr}"
        case _ if not isinstance(node, _ALLOWED):
            return f"{_WORDS.get(type(node), type(node).__name__)} is not part of templates here"
    return ""


def _is_list(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Getitem):
        return isinstance(node.arg, nodes.Slice) and _is_list(node.node)
    return isinstance(node, nodes.List) or (
        isinstance(node, nodes.Name) and node.name == "output_lines"
    )


def _is_loop(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == "loop"
