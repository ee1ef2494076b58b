"""The words of the docstrings: each begins with its subject, and not with a question."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent.parent / "lunasched"
QUESTIONS = {
    "What",
    "Whether",
    "How",
    "Where",
    "Which",
    "When",
    "Why",
    "Who",
    "Whom",
    "Whose",
    "If",
}
SHARE_MAX = 0.02


def docstrings(tree: ast.AST) -> Iterator[str]:
    """Yield the docstrings of modules, classes and functions, and those below an assignment."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        for position, statement in enumerate(body):
            match statement:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    before = body[position - 1] if position else node
                    if isinstance(
                        before,
                        (
                            ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef,
                            ast.Assign, ast.AnnAssign,
                        ),
                    ):  # fmt: skip
                        yield text


def begins_with_a_question(text: str) -> bool:
    """Tell whether the first word asks for what the docstring should say."""
    words = text.split(None, 1)
    return bool(words) and words[0].strip(",:;.") in QUESTIONS


def test_docstrings_are_found_where_they_can_stand() -> None:
    tree = ast.parse(
        '"""Whether 1."""\nA = 1\n"""Where 2."""\n'
        'class B:\n    """What 3."""\n    def c(self):\n        """How, 4."""\n'
    )
    found = list(docstrings(tree))
    assert sorted(text[-2] for text in found) == ["1", "2", "3", "4"]
    assert all(map(begins_with_a_question, found))
    assert not begins_with_a_question("Return what there is.")
    assert not begins_with_a_question("Whatever there is.")


def test_docstrings_begin_with_their_subject() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    texts = [
        (f"{file.relative_to(PACKAGE.parent)}: {text.splitlines()[0]}", text)
        for file in files
        for text in docstrings(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert len(texts) > 2000
    questions = [place for place, text in texts if begins_with_a_question(text)]
    assert len(questions) < SHARE_MAX * len(texts), "\n".join(questions)
