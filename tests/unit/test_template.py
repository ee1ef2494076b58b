"""Templates: what they can say, what is refused when they are read, and that none takes long."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunasched.errors import InvalidInput, TemplateFailed
from lunasched.formats import template
from lunasched.jobs.runfacts import TEMPLATE_VARIABLES

FACTS: dict[str, Any] = {
    **dict.fromkeys(TEMPLATE_VARIABLES),
    "job": "backup",
    "exit_code": 3,
    "what": 'exit code 3 & "more"',
    "output": "one\ntwo\n" + "x" * 8000,
    "output_lines": ["one", "two", *["x" * 400] * 18],
}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain { text } 100%", "plain { text } 100%"),
        ("{{ job }}: {{ what }}\n", 'backup: exit code 3 & "more"\n'),
        ("{% if exit_code == 3 %}a{% elif job %}b{% else %}c{% endif %}", "a"),
        ("{{ 'x' if signal else 'y' }}{{ signal }}", "y"),
        ("{% for line in output_lines[:2] %}\n{{ loop.index }} {{ line }}\n{% endfor %}",
         "1 one\n2 two\n"),
        ("{% for word in ['a', job] %}{{ word }} {% endfor %}", "a backup "),
        ("{{ job ~ '/' ~ exit_code ~ signal }}", "backup/3"),
        ("{{ exit_code * 2 + 1 }} {{ (exit_code / 2) | round(1) }}", "7 1.5"),
        ("{{ what | tojson }}", '"exit code 3 & \\"more\\""'),
        ("{{ job | upper | replace('A', 'o') | truncate(4) }}", "B..."),
        ("{{ signal | default('none') }} {{ signal is none }}", "none True"),
        ("{{ output_lines | length }} {{ output_lines | first }}", "20 one"),
        ("{{ output_lines[1] }} {{ output_lines[:3] | last | length }}", "two 400"),
        ("{{ output_lines[:2] | join(', ') }}", "one, two"),
        ("{{ 'backup' in job and not signal }}", "True"),
        ("{# a comment #}{% raw %}{{ }}{% endraw %}", "{{ }}"),
    ],
)  # fmt: skip
def test_what_a_template_says(text: str, said: str) -> None:
    template.check_template(text, TEMPLATE_VARIABLES)
    assert template.render(text, FACTS) == said


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{{ job", "not a valid template: line 1: unexpected end of template"),
        ("a\n{% if %}", "not a valid template: line 2: "),
        ("{{ jbo }}", "there is no variable 'jbo'; did you mean 'job'?"),
        ("{{ job | uper }}", "there is no filter 'uper'; did you mean 'upper'?"),
        ("{{ job is odd and job is weird }}", "there is no test 'weird'"),
        ("{{ range(1000000000) }}", "a call is not part of templates here"),
        ("{{ job.upper() }}", "a call is not part of templates here"),
        ("{{ job.__class__ }}", "nothing here has .__class__"),
        ("{{ 9 ** 9 ** 9 }}", "** is not part of templates here"),
        ("{% set x = job %}{{ x }}", "set is not part of templates here"),
        ("{% set x %}a{% endset %}", "set is not part of templates here"),
        ("{% macro x() %}{% endmacro %}", "macro is not part of templates here"),
        ("{% include 'x' %}", "include is not part of templates here"),
        ("{% import 'x' as y %}", "import is not part of templates here"),
        ("{% filter upper %}a{% endfilter %}", "filter is not part of templates here"),
        ("{{ {'a': 1} }}", "a mapping is not part of templates here"),
        ("{{ job | replace(*['a', 'b']) }}", "there is no filter 'replace'"),
        ("{% for c in output %}{% endfor %}", "a loop is over output_lines, a part of it, or a"),
        ("{% for a in output_lines %}{% for b in output_lines %}{% endfor %}{% endfor %}",
         "a loop cannot be inside another"),
        ("{% for a in [1] recursive %}{% endfor %}", "a loop cannot be inside another"),
        ("{% for a in [1] %}{% endfor %}{{ a }}", "there is no variable 'a'"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "it is nested too deeply"),
        ("{% if 1 %}" * 200 + "{% endif %}" * 200, "it is nested too deeply"),
        ("{{ job" + "|upper" * 1000 + " }}", "it is nested too deeply"),
        ("x" * 8193, "a template has at most 8192 characters"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        template.check_template(text, TEMPLATE_VARIABLES)
    assert problem in str(caught.value)
    if len(text) <= template.LENGTH_MAX:
        with pytest.raises(TemplateFailed):
            template.render(text, FACTS)


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'x' * 1000000000 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ 'x' + 'y' }}",
        "{{ " + " ~ ".join(["output"] * 500) + " }}",
        "{{ output | replace('x', output) }}",
        "{{ output_lines | join(output) }}",
        "{{ job" + " | replace('a', 'aaaaaaaaaaaaaaaaaaaa')" * 20 + " }}",
        "{{ what" + " | tojson" * 40 + " }}",
        "{{ output }}" * 20,
        "{% for a in output_lines %}"
        + "{{ output | upper | lower | trim }}" * 100
        + "{% endfor %}",
        "{% for a in output_lines %}{% if output" + " | upper" * 40 + " %}{% endif %}{% endfor %}",
        "{{ exit_code / 0 }}",
        "{{ job['upper'] }}",
        "{{ output_lines[99] }}",
        "{{ exit_code | replace(1, 2) }}",
        "{{ [1] | round }}",
        "{{ " + "9999999999 * " * 500 + "1 }}",
        "{% for a in [1] %}{% for b in [1] %}{% endfor %}{% endfor %}",
    ],
)
def test_what_cannot_be_filled_in_fails_soon(text: str) -> None:
    with pytest.raises(TemplateFailed) as caught:
        template.render(text, FACTS)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


PIECES = (
    "{{", "}}", "{%", "%}", " if ", " for a in ", "output_lines", " endfor ", " endif ", "job", "|",
    "upper", "replace('a', 'bb')", "~", "*", "+", "%", "10", "'x'", "[", "]", "(", ")", "loop",
    ".index", ":", "is none", "not ", "output", "tojson", ",", "\n", "{#", "#}", "-",
)  # fmt: skip


@given(text=st.lists(st.sampled_from(PIECES), max_size=25).map("".join) | st.text(max_size=20))
def test_any_text_is_filled_in_or_refused(text: str) -> None:
    try:
        template.check_template(text, TEMPLATE_VARIABLES)
    except InvalidInput:
        return
    try:
        said = template.render(text, FACTS)
    except TemplateFailed:
        return
    assert len(said) <= template.VALUE_MAX


@given(output=st.text())
def test_what_a_job_wrote_is_no_template(output: str) -> None:
    for hostile in (output, "{{ range(9) }}", "{% for"):
        assert template.render("{{ output }}", {**FACTS, "output": hostile}) == hostile


def test_every_variable_and_filter_can_be_used() -> None:
    for name in TEMPLATE_VARIABLES:
        template.check_template(f"{{{{ {name} }}}}", TEMPLATE_VARIABLES)
    for name in template.FILTERS:
        template.check_template(f"{{{{ output_lines | {name} }}}}", TEMPLATE_VARIABLES)
