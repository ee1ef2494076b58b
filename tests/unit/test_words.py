"""The words that lunasched uses: docstrings begin with their subject, and phrases are English."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TREE = Path(__file__).parent.parent.parent
PACKAGE = TREE / "lunasched"
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
FOREIGN = (
    r"(is|are|was|were) told of", r"shall be so", r"takes? \w+ to mend", r"mend(s|ed|ing)?",
    r"what who", r"whom to tell", r"(if|where) nothing (else )?is said", r"for want of",
    r"in place of ours", r"(that|which) there (is|are) none of", r"there is no telling",
    r"the most (that )?there may be", r"(is|are) there (no|any) more", r"lie in the history",
    r"how often a failed run", r"(is|are) tried again", r"after which (alone|not) to",
    r"wins over", r"it is no (URL|template|entry|absolute path)", r"has no meaning any more",
    r"has this \w+ no more", r"more than \S+ levels are", r"round in a circle",
    r"(runs?|job) ID", r"owner of (a|the) job", r"messages to send",
)  # fmt: skip
"""Phrases that stand for a word of the field, such as notify, fix, retry or user, or that no
speaker would use."""
BREAK = r"[\s\"#]+f?\"?"
"""The space between two words, also at the end of a line of a literal or of a comment."""
PHRASES = re.compile(
    "|".join(rf"\b(?:{one.replace(' ', BREAK)})\b" for one in FOREIGN)
    + rf"|!r\}}{BREAK}is{BREAK}no{BREAK}[a-z{{]",
    re.IGNORECASE,
)


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


def prose() -> Iterator[tuple[str, str]]:
    """Yield each text that people read, with its place: the manual, and all files of the tree."""
    for folder in ("lunasched", "man", "packaging", "unit-templates"):
        for file in sorted((TREE / folder).rglob("*")):
            if file.is_file() and file.suffix not in {".png", ".pyc"}:
                yield str(file.relative_to(TREE)), file.read_text(encoding="utf-8")
    for file in (TREE / "README.md", TREE / "NEWS.md"):
        yield file.name, file.read_text(encoding="utf-8")


def test_no_phrase_is_foreign() -> None:
    found = [
        f"{place}:{text.count(chr(10), 0, match.start()) + 1}: {' '.join(match[0].split())}"
        for place, text in prose()
        for match in PHRASES.finditer(text)
    ]
    assert not found, "\n".join(found)


def test_a_foreign_phrase_is_found() -> None:
    for phrase in ("is told\nof", "Takes two to mend", 'f"whom "\n   "to tell', "# what\n# who"):
        assert PHRASES.search(phrase)
    assert PHRASES.search('f"{value!r} is no URL"')
    assert not PHRASES.search("there is no URL")


def test_news_name_the_manual() -> None:
    news = (TREE / "NEWS.md").read_text(encoding="utf-8")
    assert "lunasched-concepts(7)" in news
    assert "man/guide.md" in news
