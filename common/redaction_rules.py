"""What secrets look like: a table of rules, each with a text that it finds and one that it leaves alone.

A rule is a **prefix**, which is public and stays, and a **body**, which is the secret. The prefixes
are those that the services themselves document, so that a leaked key can be recognised.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from common.redaction_names import (
    TEXT_PIECES,
    is_password_name,
    is_reference,
    is_secret_name,
    is_varied,
    may_be_secret,
)
from common.redaction_services import SERVICES
from common.redaction_vendors import FORMS, is_vendor_key

#: Not inside a word; an escaped line end and a percent-encoded character are no part of one.
_EDGE = r"(?:(?<![A-Za-z0-9+])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2}))"
#: Of a longer body it is certain what it is: nobody waits for more of it.
LONG = 256


@dataclass(frozen=True, slots=True)
class Found:
    """A prefix and what may be the secret after it."""

    text: str
    prefix: re.Match[str]
    begin: int
    end: int
    #: What the body consists of.
    run: re.Pattern[str]

    @property
    def body(self) -> str:
        return self.text[self.begin : self.end]

    @property
    def head(self) -> str:
        """As much of the body as a decision takes: bodies may overlap, and each is looked at."""
        return self.text[self.begin : min(self.end, self.begin + LONG)]


@dataclass(frozen=True, slots=True)
class Rule:
    """How one kind of secret is recognised."""

    name: str
    #: Texts of which one is in every prefix, where the search for it begins.
    anchors: tuple[str, ...]
    #: Matches at an anchor.
    prefix: re.Pattern[str]
    #: Matches the body, as far as it goes; possibly nothing.
    run: re.Pattern[str]
    accepts: Callable[[Found], bool]
    #: A text with such a secret, and the secret; a text without.
    example: tuple[str, str]
    other: str
    #: The prefix alone says what follows: a long body is a secret whatever it looks like.
    certain: bool = False
    #: Anchors are looked for in lower case.
    folded: bool = False
    #: What may stand at the end of a text while more is to come, with the body not over yet.
    waits: re.Pattern[str] | None = None
    #: Whether the prefix, with what is before it, announces a secret.
    announces: Callable[[re.Match[str]], bool] | None = None
    #: The body between these quotation marks, where the prefix ends with one.
    quoted: dict[str, re.Pattern[str]] | None = None

    def find(self, text: str, anchor: int, last: Found | None = None) -> Found | None:
        """Return what begins with the anchor at this place, or None.

        Args:
            last: what this rule found before it in the text. A body that begins inside of that one ends with it,
                and is not gone through again: else a text of nothing but names would take its length squared.
        """
        prefix = self.prefix.match(text, anchor)
        if prefix is None or (self.announces and not self.announces(prefix)):
            return None
        run = self.run
        if self.quoted and (quote := prefix["quote"]):
            run = self.quoted[quote]
        begin = prefix.end()
        if last is not None and run is last.run is self.run and last.begin <= begin < last.end:
            return Found(text, prefix, begin, last.end, run)
        body = run.match(text, begin)
        return Found(text, prefix, begin, body.end() if body else begin, run)

    def hides(self, found: Found) -> bool:
        """Whether the body that was found is a secret."""
        return (self.certain and found.end - found.begin > LONG) or self.accepts(found)

    def unfinished(self, found: Found) -> bool:
        """Whether more text could change what was found."""
        if found.end == len(found.text):
            return True
        return self.waits is not None and self.waits.fullmatch(found.text, found.end) is not None


# --- keys that begin with what their service writes at the beginning of all of them -----------

_WORD = r"[A-Za-z0-9_-]*"
_ALNUM = r"[A-Za-z0-9]*"
_DOTTED = r"(?:[A-Za-z0-9_-]|\.(?=[A-Za-z0-9_-]))*"
#: Stands for the random part in examples.
_RANDOM = "a1B2c3D4e5F6g7H8i9J0" * 12


def _literal(
    name: str,
    anchors: str,
    shape: str,
    other: str,
    *,
    run: str = _WORD,
    more: str = "",
    edge: bool = False,
    varied: bool = False,
    waits: str = "",
    before: str = "",
    body: str = "",
    after: str = " .",
    behind: str = "",
) -> Rule:
    """Return the rule of a service's keys.

    Args:
        anchors: what they begin with, of which one counts; separated by blanks.
        shape: the pattern of the secret part, or the least number of characters that it has.
        other: a text without one.
        run: what the secret part consists of.
        more: what else of the beginning is public, a pattern.
        edge: the beginning is short, so it counts only where a word could begin.
        varied: words can look like it, so the secret part needs capitals among small letters, or digits.
        waits: what may stand at the end of a text before the secret goes on.
        behind: what must stand before it, a pattern of a fixed length.
        before, body, after: of the example, the rest of its public beginning, its secret and what follows.
    """
    pieces = tuple(anchors.split())
    beginning = "|".join(re.escape(piece) for piece in sorted(pieces, key=len, reverse=True))
    pattern = re.compile(rf"(?s).{{{shape},}}" if shape.isdigit() else shape)
    body = body or "".join(each for each in _RANDOM if re.fullmatch(run, each))[: int(shape)]

    def accepts(found: Found) -> bool:
        if pattern.fullmatch(found.body) is None:
            return False
        return is_varied(found.body) if varied else len(set(found.body)) > 3

    return Rule(
        name=name,
        anchors=pieces,
        prefix=re.compile(f"{_EDGE if edge else behind}(?:{beginning}){more}"),
        run=re.compile(run),
        accepts=accepts,
        example=(f"it is {'abc1' if behind else ''}{pieces[0]}{before}{body}{after}", body),
        other=other,
        certain=True,
        waits=re.compile(waits) if waits else None,
    )


_JWT_PART = _RANDOM[:40]
_BASE64 = f"{_RANDOM[:64]}\n{_RANDOM[:30]}==\n"

LITERAL_RULES: tuple[Rule, ...] = (
    _literal("openai", "sk-", "20", "task-force, sk-learn-contrib-and-more-packages", edge=True, varied=True,
             more=r"(?:ant-(?:(?:sid|api|admin|oat|ort)\d\d-)?|proj-|svcacct-|admin-|or-v1-)?"),
    _literal("github", "ghp_ gho_ ghs_ ghu_ ghr_", "36", "ghp_ is how it begins, ghp_short", run=_ALNUM),
    _literal("github_fine_grained", "github_pat_", "60", "github_pat_for_robots", run=r"\w*"),
    _literal("gitlab", "glpat-", "20", "glpat-short"),
    _literal("slack", "xoxb- xoxp- xoxa- xoxr- xoxs- xoxo- xoxe- xapp-", "20", "xoxb-token"),
    _literal("aws", "AKIA ASIA ABIA ACCA", "[A-Z0-9]{16}", "ASIA PACIFIC, ASIAPACIFIC", run="[A-Z0-9]*", edge=True,
             body="Q3EGQ7Z4T5R6W2XY"),
    _literal("google", "AIza", r"[\w-]{35}", "AIza, AIzaShort", edge=True, body=_RANDOM[:35]),
    _literal("stripe", "sk_live_ sk_test_ rk_live_ rk_test_ whsec_", "16", "sk_live_mode", run="[A-Za-z0-9+/=]*",
             edge=True),
    _literal("sendgrid", "SG.", r"[\w-]{16,32}\.[\w-]{30,64}|[\w=.-]{66}", "Singapore (SG.)", waits=r"\.?",
             run=r"(?:[A-Za-z0-9_=-]|\.(?=[A-Za-z0-9_=-]))*", edge=True, body=f"{_RANDOM[:22]}.{_RANDOM[:43]}"),
    _literal("npm", "npm_", r".{36}", "npm_config_registry", run=_ALNUM, edge=True, body=_RANDOM[:36]),
    _literal("pypi", "pypi-", "40", "pypi-server, pypi-a-long-name-of-a-package-with-many-words", edge=True,
             varied=True),
    _literal("own_and_hugging_face", "hf_ hfb_", "20", "hf_hub_download, hf_model_name_or_path_override",
             edge=True, varied=True),
    _literal("telegram", ":A", r".{34}", "at 12:AM, at 08:AA", body=_RANDOM[:34]),
    _literal("discord", "MT Mj Mz ND NT Nj Nz OD OT", r"[\w-]{6}\.[\w-]{27,40}", "MTk4NjIyNDgzNDcxOTI1MjQ4. End",
             more=r"[AEIMQUYcgk][\w-]{20,24}\.", edge=True, run=_DOTTED, waits=r"\.?",
             before="k4NjIyNDgzNDcxOTI1MjQ4.", body=f"{_RANDOM[:6]}.{_RANDOM[:27]}"),
    _literal("jwt", "eyJ", r"[\w-]{8,}=*\.[\w-]{8,}=*(?:\.[\w-]*){0,3}=*|rIjoi\w{60,}=*",
             "eyJhbGciOiJIUzI1NiJ9 alone",
             run=r"(?:[A-Za-z0-9_=-]|\.(?=[A-Za-z0-9_-]))*", waits=r"\.?", edge=True,
             body=f"{_JWT_PART}.{_JWT_PART}.{_JWT_PART}"),
    _literal("azure", "Q~", r".{31,34}", "the Q~ factor", behind=r"(?<=[A-Za-z0-9_~.]{3}\d)", waits=r"\.?",
             run=r"(?:[A-Za-z0-9_~-]|\.(?=[A-Za-z0-9_~.-]))*", body=_RANDOM[:34]),
    _literal("1password", "A3-", r"[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})(?:-[A-Z0-9]{5}){3}",
             "A3-SIZE, A3-XXXXXX-XXXXXXXXXXX-XXXXX-XXXXX-XXXXX", run="[A-Z0-9-]*", edge=True,
             body="Q3EGQ7-Z4T5R6W2XYK-4MB7P-9TQ2C-H8DNR"),
    _literal("authress", "sc_ ext_ scauth_ authress_",
             r"[A-Za-z0-9]{5,30}\.[A-Za-z0-9]{4,6}\.acc[_-][A-Za-z0-9-]{10,32}\.[A-Za-z0-9+/_=-]{30,120}",
             "sc_query.text, ext_modules", run=r"(?:[A-Za-z0-9+/_=-]|\.(?=[A-Za-z0-9+/_=-]))*", waits=r"\.?",
             edge=True, body=f"k4Q9x2.e7b3.acc_{_RANDOM[:16]}.{_RANDOM[:40]}"),
    _literal("databricks", "dapi", r"[0-9a-f]{32}(?:-\d)?", "dapi is how it begins, dapila", run="[0-9a-z-]*",
             edge=True, body="3f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c"),
    _literal("plaid", "access-sandbox- access-development- access-production-",
             "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "access-production-servers", run="[0-9a-z-]*",
             edge=True, body="3f9a8b7c-6d5e-4f3a-2b1c-0d9e8f7a6b5c"),
    _literal("hugging_face_organization", "api_org_", ".{34}", "api_org_name, api_org_identifier", run=_ALNUM,
             edge=True, body=_RANDOM[:34]),
    *(_literal(name, anchors, str(least), f"{anchors} alone", run=run, edge=anchors[0].isalnum(), varied=True)
      for name, anchors, run, least in SERVICES),
    _literal("private_key", "-----BEGIN", r"(?s)[A-Za-z0-9+/=]{16}.*", "-----BEGIN PRIVATE KEY----- opens it",
             more=r" [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
             r"(?:(?:\s|\\[nr])*(?:Proc-Type|DEK-Info|Version|Comment):[^\n\\]*)*(?:\s|\\[nr])*",
             run=r"(?:[A-Za-z0-9+/=\s\"',]|\\[nr])*", waits=r"\\|-?[A-Za-z]*(?::[^\n\\]{0,80})?",
             before=" RSA PRIVATE KEY-----\n", body=_BASE64, after="-----END RSA PRIVATE KEY-----"),
)  # fmt: skip


# --- passwords of addresses, headers, and values beside a secret's name ----------------------


#: What stands in examples of addresses.
_NO_PASSWORDS = {"password", "passwd", "pass", "secret"}


def _ends_in_at(found: Found) -> bool:
    if not 0 < found.end - found.begin <= LONG or not found.text.startswith("@", found.end):
        return False
    return found.body.lower() not in _NO_PASSWORDS and not is_reference(found.body)


def _credentials(found: Found) -> bool:
    """Whether it is what a header carries, and not the word after "basic" in a sentence."""
    body = found.head
    if len(body) < 8 or not found.prefix.group()[-1].isspace():
        return False
    return any(character.isdigit() for character in body) or (len(body) >= 20 and is_varied(body))


def _names_a_secret(prefix: re.Match[str]) -> bool:
    return is_secret_name(_name_of(prefix))


def _named(found: Found) -> bool:
    """Whether the value beside the name of a secret is one."""
    quoted, password = bool(found.prefix["quote"]), is_password_name(_name_of(found.prefix))
    value, loose = found.head, found.prefix["blank"] != ""
    if quoted and any(character.isspace() for character in value):
        return False
    if not quoted and found.text[found.end : found.end + 1] in ("(", "[", "{"):
        return False  # a call
    if not quoted and loose and _NEXT_WORD.match(found.text, found.end):
        # A sentence goes on after the first word; only what no sentence has is a password there.
        password = False
    return may_be_secret(value, password=password, loose=loose, quoted=quoted)


def _name_of(prefix: re.Match[str]) -> str:
    """Return the whole name that the anchor is a part of, with a word before it: ``API key``."""
    start = max(0, prefix.start() - 48)
    before = _NAME_BEFORE.search(prefix.string[start : prefix.start()])
    return (before.group() if before else "") + str(prefix["rest"])


def _vendors(found: Found) -> bool:
    """Whether the value behind the name of a service is a key of it."""
    name, between, body = found.prefix["service"], found.prefix["between"], found.head
    begins = found.text[found.begin - 1] == "="  # some keys do so themselves
    return is_vendor_key(name, between, body) or (begins and is_vendor_key(name, between, f"={body}"))


def _paired(found: Found) -> bool:
    """Whether the text behind a quoted name and a comma is its value, and not the next of several names."""
    name, value = _name_of(found.prefix), found.head
    if value.startswith("-") or not value or any(map(str.isspace, value)) or is_reference(value):
        return False
    if name.startswith("--"):
        return True
    return (
        len(value) >= 8
        and not _NAME_OF_SOMETHING.fullmatch(value)
        and may_be_secret(value, password=False, loose=True, quoted=True)
    )


def _attribute(found: Found) -> bool:
    """Whether ``key="Password" value="…"`` holds one, whatever words it is made of."""
    return len(found.head) >= 4 and not is_reference(found.head)


#: Words and numbers: ``0012_alter_user``, ``max-length``.
_NAME_OF_SOMETHING = re.compile(r"(?:[A-Za-z]+|\d+)(?:[_.:/-](?:[A-Za-z]+|\d+))*")
_NEXT_WORD = re.compile(r"[ \t]+[A-Za-z]")
_NAME_BEFORE = re.compile(r"(?:[A-Za-z0-9_]+[ -])?[A-Za-z0-9_.-]*\Z")


_BARE = r"[^\s\"'`<>,;&|(){}\[\]\\]*"
_IN_QUOTES = {
    '"': re.compile(r'(?:[^"\\\r\n]|\\.)*'),
    "'": re.compile(r"(?:[^'\\\r\n]|\\.)*"),
    "`": re.compile(r"[^`\r\n]*"),
    '\\"': re.compile(r'[^"\\\r\n]*'),
    "\\'": re.compile(r"[^'\\\r\n]*"),
}

CONTEXT_RULES: tuple[Rule, ...] = (
    Rule(
        name="address",
        anchors=("://",),
        prefix=re.compile(r"://[^\s/@:\"'<>?#]{0,64}:"),
        run=re.compile(r"[^\s/@\"'<>]*"),
        accepts=_ends_in_at,
        example=("postgres://bob:tops3cret@db:5432/x", "tops3cret"),
        other="http://localhost:8080/path, https://example.com/@bob",
    ),
    Rule(
        name="credentials",
        anchors=("Bearer", "BEARER", "bearer", "Basic"),
        prefix=re.compile(r"(?:Bearer|BEARER|bearer|Basic)[ \t]*"),
        run=re.compile(r"(?:[A-Za-z0-9_~+/=-]|\.(?=[A-Za-z0-9_~+/=-]))*"),
        waits=re.compile(r"\.?"),
        accepts=_credentials,
        example=("Authorization: Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA=="),
        other="the Bearer token, Basic authentication, bearer of news",
    ),
    Rule(
        name="named",
        anchors=TEXT_PIECES,
        folded=True,
        prefix=re.compile(
            rf"(?i)(?P<rest>(?:{'|'.join(TEXT_PIECES)})[\w-]{{0,32}})"
            r"(?:\\?[\"'`]|\*\*|\]){0,2}[ \t]{0,3}(?:=>|[?:]{0,3}={1,3}|:)(?:\*\*)?(?P<blank>[ \t]{0,8})"
            r"(?P<quote>\\?[\"']|`|)(?:(?:api-)?(?:token|key)[ \t]+|apikey[ \t]+)?"
        ),
        run=re.compile(_BARE),
        quoted=_IN_QUOTES,
        waits=re.compile(r"[ \t]{1,8}|\\"),
        announces=_names_a_secret,
        accepts=_named,
        example=("export DB_PASSWORD=hunter2!", "hunter2!"),
        other="the token: it is in the post, max_tokens=4096, password: , secretary: Alice",
    ),
    Rule(
        name="pair",
        anchors=TEXT_PIECES,
        folded=True,
        prefix=re.compile(
            rf"(?i)(?P<rest>(?:{'|'.join(TEXT_PIECES)})[\w-]{{0,32}})\\?[\"'],\s{{0,16}}(?P<quote>\\?[\"'])"
        ),
        run=re.compile(_BARE),
        quoted=_IN_QUOTES,
        waits=re.compile(r"\\"),
        announces=_names_a_secret,
        accepts=_paired,
        example=('run(["mysql", "--password", "hunter", "app"])', "hunter"),
        other='["password", "username"], ["--password", "--user"], ("api_key", "secret_key"), "token", "max"',
    ),
    Rule(
        name="attribute",
        anchors=TEXT_PIECES,
        folded=True,
        prefix=re.compile(
            rf"(?i)(?P<rest>(?:{'|'.join(TEXT_PIECES)})[\w-]{{0,32}})[\"']\s{{1,16}}value\s?=\s?(?P<quote>[\"'])"
        ),
        run=re.compile(_BARE),
        quoted=_IN_QUOTES,
        waits=re.compile(r"\\"),
        announces=_names_a_secret,
        accepts=_attribute,
        example=('<add key="ClearTextPassword" value="NotTheOldPassword1" />', "NotTheOldPassword1"),
        other='<add key="Password" value="%DB_PASSWORD%" />, <input name="password" value="">',
    ),
    Rule(
        name="vendor",
        anchors=tuple(FORMS),
        folded=True,
        prefix=re.compile(
            rf"(?P<service>(?i:{'|'.join(map(re.escape, FORMS))}))(?P<between>[\w. \t-]{{0,20}})[\s\"'`\\]{{0,3}}"
            r"(?:=>|[:?]{0,3}={1,3}|\|\||[:,>])[\s\"'`=\\]{0,5}"
        ),
        run=re.compile(r"(?:[A-Za-z0-9_~+/=%-]|\.(?=[A-Za-z0-9_=-]))*"),
        waits=re.compile(r"\.?"),
        accepts=_vendors,
        example=("HEROKU = 3f9a8b7c-6d5e-4f3a-2b1c-0d9e8f7a6b5c", "3f9a8b7c-6d5e-4f3a-2b1c-0d9e8f7a6b5c"),
        other="heroku: app id 3f9a8b7c, sentry sha256: " + "9f86d081884c7d65" * 4 + ", linear = 12",
    ),
    Rule(
        name="option",
        anchors=("--",),
        prefix=re.compile(r"(?<![\w-])--(?P<rest>[A-Za-z][\w-]{2,40})(?P<blank>[ \t]{1,3})(?P<quote>[\"']|)"),
        run=re.compile(_BARE),
        quoted=_IN_QUOTES,
        waits=re.compile(r"[ \t]{1,8}|\\"),
        announces=_names_a_secret,
        accepts=_named,
        example=("mysql --password hunter2! app", "hunter2!"),
        other="give --password to be asked, --token must be set, --max-tokens 4096, --password $PASSWORD",
    ),
)

RULES = (*LITERAL_RULES, *CONTEXT_RULES)
