"""A value that was lent never leaves whole, however it is spelled."""

import base64
import html
import json
import re
import threading
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from interlock.errors import CredentialError
from interlock.redaction import MARK, Redactor, _spellings

SECRET = "p@ss/wörd+&\"quoted\"='1'"
PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n-----END KEY-----\n"


def knowing(*values):
    redactor = Redactor()
    for value in values:
        redactor.remember(value)
    return redactor


SPELLED = {
    "plain": lambda text: text,
    "json": lambda text: json.dumps(text)[1:-1],
    "json utf-8": lambda text: json.dumps(text, ensure_ascii=False),
    "json in json": lambda text: json.dumps(json.dumps({"a": text})),
    "json with slashes": lambda text: json.dumps(text).replace("/", "\\/"),
    "url": lambda text: quote(text, safe=""),
    "url path": quote,
    "url form": quote_plus,
    "url lower case": lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")),
    "url whole": lambda text: re.sub("[_.~-]", lambda found: f"%{ord(found[0]):02X}", quote(text, safe="")),
    "html": html.escape,
    "hex": lambda text: text.encode().hex(),
    "HEX": lambda text: text.encode().hex().upper(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 url": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "basic": lambda text: base64.b64encode(b"user:" + text.encode()).decode(),
    "basic 2": lambda text: base64.b64encode(b"me:" + text.encode() + b"\n").decode(),
    "basic 3": lambda text: base64.urlsafe_b64encode(b"root:" + text.encode() + b"??").decode(),
    "bytes": lambda text: repr(text),
}


@pytest.mark.parametrize("spell", SPELLED.values(), ids=SPELLED.keys())
@pytest.mark.parametrize("secret", [SECRET, PEM, "sk-live-0123456789abcdef", "hunter2", "1234"])
def test_every_spelling_of_a_secret_is_taken_out(secret, spell):
    redactor = knowing(secret)
    leak = spell(secret)
    assert leak not in redactor.redact_text(f"before {leak} after")
    assert MARK in redactor.redact_text(f"before {leak} after")
    assert redactor.redact_text(f"before {leak} after").startswith("before ")
    assert redactor.holds_secret({"a": [f"x{leak}y"]})


def test_texts_keys_and_values_are_looked_through_and_the_shape_stays():
    redactor = knowing("hunter22")
    value = {"a": ["hunter22", 1, None, {"hunter22": True}], "b": "nothing", "c": 2.5}
    assert redactor.redact(value) == {"a": [MARK, 1, None, {MARK: True}], "b": "nothing", "c": 2.5}
    assert value["a"][0] == "hunter22"


def test_keys_that_become_alike_are_both_kept():
    assert knowing("hunter22", "hunter33").redact({"hunter22": 1, "hunter33": 2}) == {MARK: 1, f"{MARK}+": 2}


def test_a_value_without_secrets_is_given_back_itself():
    value = {"a": ["b", {"c": "d"}]}
    assert Redactor().redact(value) is value
    assert knowing("hunter22").redact(value) is value


def test_a_line_of_a_key_is_taken_out_alone():
    assert knowing(PEM).redact_text("bad line MIIEvQIBADANBgkqhkiG9w0BAQEFAASC here") == f"bad line {MARK} here"
    assert "BKcwggSj" not in knowing(PEM).redact_text(PEM.replace("\n", "\r\n"))


def test_a_secret_of_digits_is_taken_out_of_numbers_too():
    assert knowing("12345678").redact({"pin": 12345678, "n": 5, "t": True}) == {"pin": MARK, "n": 5, "t": True}
    assert knowing("12345678").holds_secret([12345678])


def test_a_secret_in_bytes_and_a_secret_of_bytes():
    assert b"hunter22" not in knowing("hunter22").redact({"a": b"x hunter22"})["a"]
    raw = b"\x00\xff\xfe secret \x80"
    assert base64.b64encode(raw).decode() not in knowing(raw).redact_text(base64.b64encode(raw).decode())
    assert knowing(raw).redact({"a": raw})["a"] == MARK.encode()


@pytest.mark.parametrize("value", ["", "abc", "   a   ", "redacted", "[redacted]"])
def test_a_value_that_cannot_be_told_from_ordinary_text_is_refused(value):
    with pytest.raises(CredentialError):
        Redactor().remember(value)


def test_the_last_values_are_known_and_memory_is_bounded():
    redactor = Redactor(most=64)
    redactor.remember("kept-secret-0")
    for number in range(1000):
        redactor.remember(f"secret-{number:04}-value")
        redactor.remember("kept-secret-0")
    assert len(redactor) <= 64
    assert redactor.redact_text("kept-secret-0 secret-0999-value") == f"{MARK} {MARK}"


def test_what_cannot_be_looked_through_is_replaced_whole():
    deep: list = ["hunter22"]
    for _ in range(100_000):
        deep = [deep]
    circle: list = []
    circle.append(circle)
    assert knowing("hunter22").redact(deep) == MARK
    assert knowing("hunter22").redact(circle) == MARK
    assert knowing("hunter22").holds_secret(deep)


def test_no_repr_shows_what_is_known():
    assert "hunter22" not in repr(knowing("hunter22"))


def test_values_may_be_remembered_while_others_are_taken_out():
    redactor = knowing("hunter22")
    leaks: list[str] = []

    def lend(start):
        for number in range(start, start + 300):
            secret = f"secret-{number:05}-{number * 7919}"
            redactor.remember(secret)
            text = redactor.redact_text(f"{secret} and hunter22")
            if secret in text or "hunter22" in text:
                leaks.append(text)

    threads = [threading.Thread(target=lend, args=(n * 1000,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert leaks == []


SECRETS = st.text(st.characters(codec="utf-8"), min_size=4, max_size=40).filter(lambda text: len(text.strip()) >= 4)


@given(
    secrets=st.lists(SECRETS | SECRETS.map(lambda text: f"[redac{text}"), min_size=1, max_size=4),
    around=st.lists(st.text(max_size=12), min_size=5, max_size=5),
    spell=st.sampled_from(
        ["plain", "json", "json utf-8", "url", "url form", "hex", "base64", "basic", "basic 2", "basic 3"]
    ),
)
def test_the_redactor_never_leaves_a_secret(secrets, around, spell):
    assume(all(secret.strip() not in MARK for secret in secrets))
    redactor = knowing(*secrets)
    parts = [part for pair in zip(around, map(SPELLED[spell], secrets), strict=False) for part in pair]
    value = redactor.redact({"text": "".join(parts), "".join(reversed(parts)): parts})
    for secret in secrets:
        for needle in _spellings(secret):
            assert needle in MARK or needle not in value["text"].replace(MARK, "\0")
            assert all(
                needle in MARK or needle not in part.replace(MARK, "\0")
                for part in [*value, *value["text"].split(MARK)]
            )
