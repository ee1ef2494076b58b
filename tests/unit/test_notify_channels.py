"""What each service is sent: within its limits, and nothing that a job wrote is markup."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_notify_http import REPORT

from lunasched.files.settings import EmailSettings
from lunasched.history.report import Held, Report, ReportKind
from lunasched.history.run import Result
from lunasched.jobs.model import Channel, ChannelType
from lunasched.notify import discord, email, heartbeat, ntfy, slack, webhook
from lunasched.notify.message import compose
from lunasched.notify.text import beginning, code, text_end, utf8, utf16

URL = "https://service.example/hook/1?thread_id=5"

PIECES = [
    "`", "``", "```", "@everyone", "@here", "<!channel>", "<@1>", "<#2>", "<http://x|y>", "&", "\\",
    "*", "_", "~~", "||", ">", "# ", "\N{PILE OF POO}", "\N{MAN}\u200d\N{WOMAN}", "\x1b[31m",
    "\x00", "\r", "\n", "\t", "\ud800", "\udfff", "\u202e", "\u2028", "é", "a", " ", '"', "[a](b)",
    "{{ job }}", "\x7f", "\x9b", "\ufffe", ":wave:",
]  # fmt: skip
HOSTILE = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=30).map("".join)
LONG = st.builds(
    lambda piece, count: piece * (count // max(1, len(piece))),
    st.sampled_from(PIECES),
    st.integers(0, 20_000),
)
REPORTS = st.builds(
    dataclasses.replace,
    st.just(REPORT),
    kind=st.sampled_from(ReportKind),
    job=HOSTILE | LONG,
    host=HOSTILE,
    result=st.sampled_from(Result),
    output=HOSTILE | LONG | st.lists(LONG, max_size=30).map("\n".join),
    failures=st.integers(0, 10**6),
    failing_since=st.none() | st.just(REPORT.started_at),
    held=st.lists(
        st.builds(
            Held, st.sampled_from(ReportKind), HOSTILE, st.integers(1, 9), st.just(5), HOSTILE
        ),
        max_size=200,
    ).map(tuple),
)
TEMPLATES = st.none() | st.sampled_from(["{{ output }}", "{{ job }}{{ text }}", "{{ job + 1 }}"])
BIG = dataclasses.replace(REPORT, output="\n".join(["`@everyone <!channel> &\\" * 50] * 50))
LINE = dataclasses.replace(REPORT, output="<" * 1_000_000)


def posted(type_: ChannelType, report: Report, template: str | None = None) -> tuple[Any, Any]:
    channel = Channel(type_, URL.partition("?")[0], subject=template, body=template)
    message = compose(report, channel)
    builders = {
        ChannelType.DISCORD: discord.request,
        ChannelType.SLACK: slack.request,
        ChannelType.NTFY: ntfy.request,
        ChannelType.WEBHOOK: webhook.request,
        ChannelType.HEARTBEAT: heartbeat.request,
    }
    request = builders[type_](channel, message, 0)
    return message, request


@given(report=REPORTS, template=TEMPLATES)
@example(report=BIG, template=None)
@example(report=LINE, template=None)
@example(report=BIG, template="{{ output }}")
def test_discord(report: Report, template: str | None) -> None:
    _, request = posted(ChannelType.DISCORD, report, template)
    content = json.loads(request.body)
    assert content["allowed_mentions"] == {"parse": []}
    assert "content" not in content
    (embed,) = content["embeds"]
    assert 0 < utf16(embed["title"]) <= 256
    assert utf16(embed.get("description", "")) <= 4096
    assert len(embed["fields"]) <= 25
    total = utf16(embed["title"]) + utf16(embed.get("description", ""))
    for field in embed["fields"]:
        assert 0 < utf16(field["name"]) <= 256
        assert 0 < utf16(field["value"]) <= 1024
        total += utf16(field["name"]) + utf16(field["value"])
    assert total <= 6000
    shown = [embed["title"], embed.get("description", "")]
    for text in [*shown, *(field["value"] for field in embed["fields"])]:
        if text.startswith("```\n"):
            assert text.endswith("\n```")
            assert "``" not in text[4:-4]
        else:
            assert not set("*_~`|<@#") & set(re.sub(r"\\.", "", text, flags=re.DOTALL))


@given(report=REPORTS, template=TEMPLATES)
@example(report=BIG, template=None)
@example(report=LINE, template=None)
@example(report=BIG, template="{{ output }}")
def test_slack(report: Report, template: str | None) -> None:
    _, request = posted(ChannelType.SLACK, report, template)
    content = json.loads(request.body)
    assert set(content) == {"text", "blocks"}
    texts = [content["text"]]
    assert 0 < len(content["blocks"]) <= 50
    for block in content["blocks"]:
        text = block["text"]
        assert 0 < utf16(text["text"]) <= (150 if block["type"] == "header" else 3000)
        if text["type"] == "mrkdwn":
            assert text["verbatim"]
            assert text["text"].startswith("```\n")
            assert text["text"].endswith("\n```")
            assert "``" not in text["text"][4:-4]
            texts.append(text["text"])
        else:
            assert (text["type"], text["emoji"]) == ("plain_text", False)
    for text in texts:
        assert "<" not in text
        assert ">" not in text
        assert "&" not in re.sub("&(amp|lt|gt);", "", text)


@given(report=REPORTS, template=TEMPLATES)
@example(report=BIG, template=None)
@example(report=dataclasses.replace(REPORT, output="\\" * 1_000_000), template=None)
@example(report=BIG, template="{{ output }}")
def test_ntfy(report: Report, template: str | None) -> None:
    _, request = posted(ChannelType.NTFY, report, template)
    assert len(request.body) <= 8192
    content = json.loads(request.body)
    assert content["topic"] == "1"
    assert request.url == "https://service.example/hook/"
    assert 0 < utf8(content["message"]) <= 4096
    assert 0 < utf8(content["title"]) <= 250
    assert 1 <= content["priority"] <= 5
    assert all(isinstance(tag, str) for tag in content["tags"])


@given(report=REPORTS, template=TEMPLATES)
@example(report=LINE, template=None)
def test_webhook(report: Report, template: str | None) -> None:
    message, request = posted(ChannelType.WEBHOOK, report, template)
    if message.custom:
        assert request.body == message.text.encode()
        return
    content = json.loads(request.body)
    assert content["version"] == 1
    assert content["kind"] == report.kind.value
    assert content["text"] == message.text
    names = len(report.job) + sum(len(one.job) + len(one.what) for one in report.held)
    # Lines of the output are cut: 20 of 400 characters, twice, as the escapes of JSON.
    assert len(request.body) < 250_000 + 24 * names


@given(report=REPORTS)
@example(report=LINE)
def test_heartbeat(report: Report) -> None:
    _, request = posted(ChannelType.HEARTBEAT, report)
    assert len(request.body) <= 10_000
    assert request.body.decode()


@given(report=REPORTS, template=TEMPLATES)
@example(report=LINE, template=None)
def test_email(report: Report, template: str | None) -> None:
    channel = Channel(ChannelType.EMAIL, "a@b", subject=template, body=template)
    message = compose(report, channel)
    mail = email.build(channel, message, key="k", settings=EmailSettings(), host="h.example")
    raw = mail.as_bytes()
    head = raw.partition(b"\r\n\r\n")[0]
    names = {line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b" \t"}
    assert names <= {
        b"From", b"To", b"Subject", b"Date", b"Message-ID", b"Auto-Submitted", b"MIME-Version",
        b"X-Auto-Response-Suppress", b"X-Mailer", b"X-Lunasched-Host", b"X-Lunasched-Event",
        b"X-Lunasched-Job", b"X-Lunasched-Execution-Id", b"Content-Type",
        b"Content-Transfer-Encoding",
    }  # fmt: skip


@given(report=REPORTS, template=TEMPLATES)
@example(report=LINE, template=None)
def test_a_message_has_no_character_that_does_something(
    report: Report, template: str | None
) -> None:
    channel = Channel(ChannelType.EMAIL, "a@b", subject=template, body=template)
    message = compose(report, channel)
    assert "\n" not in message.subject
    assert len(message.subject) <= 200
    assert message.output.count("\n") < 20
    for text in (message.subject, message.text, message.output):
        assert text.encode().decode() == text
        assert not set(text) & {"\x1b", "\x00", "\r", "\u202e", "\x7f", "\x9b"}


@given(text=HOSTILE | LONG, limit=st.integers(1, 300))
def test_cutting(text: str, limit: int) -> None:
    text = text.encode("utf-8", "replace").decode()
    for measure in (utf16, utf8, len):
        for cut in (beginning(text, limit + 2, measure), text_end(text, limit + 2, measure)):
            assert measure(cut) <= limit + 2
            assert cut == text or "…" in cut
    assert utf16(text) == len(text.encode("utf-16-le")) // 2


def test_the_end_of_a_long_output_is_kept() -> None:
    output = "\n".join(f"line {number} " + "x" * 390 for number in range(100))
    report = dataclasses.replace(REPORT, output=output)
    for type_ in (ChannelType.DISCORD, ChannelType.SLACK, ChannelType.NTFY):
        _, request = posted(type_, report)
        assert "line 99" in request.body.decode()
        assert "exit code 3" in request.body.decode()


def test_backticks_do_not_end_a_block_of_code() -> None:
    for text in ("```", "````", "`" * 9, "a``b", "`"):
        assert "``" not in code(text)[4:-4]
        assert code(text).replace("\u200b", "")[4:-4] == text


@pytest.mark.parametrize(
    ("given_url", "expected"),
    [
        ("https://d.example/1/x", "https://d.example/1/x?wait=true"),
        ("https://d.example/x?thread_id=5&wait=0", "https://d.example/x?thread_id=5&wait=true"),
    ],
)
def test_discord_says_whether_it_took_a_message(given_url: str, expected: str) -> None:
    channel = Channel(ChannelType.DISCORD, given_url)
    assert discord.request(channel, compose(REPORT), 0).url == expected


def test_ntfy_has_a_token_and_a_priority() -> None:
    channel = Channel(ChannelType.NTFY, "https://ntfy.sh/topic", token="tk_1", priority="min")
    request = ntfy.request(channel, compose(REPORT), 0)
    assert request.url == "https://ntfy.sh/"
    assert request.headers["Authorization"] == "Bearer tk_1"
    assert json.loads(request.body)["priority"] == 1
    ours = ntfy.request(Channel(ChannelType.NTFY, "https://ntfy.sh/topic"), compose(REPORT), 0)
    assert json.loads(ours.body)["priority"] == 4


def test_every_kind_looks_different() -> None:
    reports = [dataclasses.replace(REPORT, kind=kind, result=Result.SUCCESS) for kind in ReportKind]
    for type_ in (ChannelType.DISCORD, ChannelType.SLACK, ChannelType.NTFY):
        bodies = {posted(type_, report)[1].body for report in reports}
        assert len(bodies) == len(reports)
