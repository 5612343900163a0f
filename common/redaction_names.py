"""Which names announce a secret, and which values beside such a name are one."""

from __future__ import annotations

import re
from functools import lru_cache

#: One of these pieces, in lower case, is in every name that announces a secret in a text.
TEXT_PIECES = ("passw", "passphrase", "passcode", "pwd", "secret", "token", "key", "credential", "creds", "auth")
#: And one of these in every name that does in JSON.
NAME_PIECES = (*TEXT_PIECES, "cookie")

_ALONE = {
    "password", "passwd", "passwort", "passphrase", "passcode", "pwd", "secret", "secrets", "credential",
    "credentials", "creds", "authorization", "auth", "cookie", "apikey", "apikeys", "apitoken", "apisecret",
    "accesskey", "accesstoken", "authtoken", "authkey", "bearertoken", "clientsecret", "privatekey",
    "refreshtoken", "secretkey", "passwords", "sessiontoken", "signingkey",
}  # fmt: skip
#: What makes a key, or several tokens, a secret one.
_OF_KEYS = {
    "access", "account", "admin", "aes", "api", "app", "application", "auth", "client", "decryption", "deploy",
    "developer", "encryption", "hmac", "jwt", "master", "private", "rsa", "secret", "server", "service",
    "session", "shared", "signing", "ssh", "storage", "subscription", "webhook",
}  # fmt: skip
_OF_TOKENS = {"access", "api", "auth", "bearer", "refresh", "session"}
#: What makes a token a place in a text, a list or a budget.
_NOT_OF_TOKEN = {
    "bos", "change", "cls", "completion", "context", "continuation", "count", "cursor", "end", "eos", "first",
    "input", "last", "lexer", "mask", "max", "min", "n", "next", "num", "output", "pad", "page", "pagination",
    "parser", "per", "prev", "previous", "prompt", "resume", "sep", "skip", "special", "start", "stop", "sync",
    "total", "unk",
}  # fmt: skip
#: What may follow without making it something else.
_TAIL = {"again", "b64", "base64", "confirm", "confirmation", "plain", "raw", "repeat", "value"}
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ENDS = ("password", "passwd", "passphrase")
_PASSWORDS = {"password", "passwd", "passwort", "passphrase", "passcode", "pwd", "passwords"}


def is_secret_name(name: str) -> bool:
    """Whether a value of this name is a secret: ``db_password``, ``apiKey``; not ``max_tokens``."""
    lowered = name.lower()
    return any(piece in lowered for piece in NAME_PIECES) and _is_secret_name(name[-64:])


@lru_cache(maxsize=2048)
def _is_secret_name(name: str) -> bool:
    words = _words_of(name)
    if not words:
        return False
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    match last:
        case "token":
            return before not in _NOT_OF_TOKEN
        case "tokens":
            return before in _OF_TOKENS
        case "key" | "keys":
            return before in _OF_KEYS
        case "cookies":
            return before == "set"
    return last in _ALONE or last.endswith(_ENDS)


def is_password_name(name: str) -> bool:
    """Whether it is a secret that people make up themselves."""
    words = _words_of(name[-64:])
    return bool(words) and (words[-1] in _PASSWORDS or words[-1].endswith(_ENDS))


def _words_of(name: str) -> list[str]:
    words = [word.lower() for word in _WORDS.findall(name)]
    while len(words) > 1 and (words[-1] in _TAIL or words[-1].isdigit()):
        words.pop()
    return words


# --- values -------------------------------------------------------------------------------

#: Words that stand where a secret would: types, states, instructions.
_NO_SECRETS = {
    "above", "any", "auto", "basic", "bearer", "below", "bool", "boolean", "bytes", "default", "denied",
    "digest", "disabled", "empty", "enabled", "expired", "false", "field", "file", "float", "forgotten", "hash",
    "hashed", "here", "hidden", "incorrect", "input", "int", "integer", "invalid", "missing", "none", "null",
    "nil", "number", "object", "off", "optional", "private", "public", "redacted", "required", "reset", "self",
    "short", "str", "string", "text", "true", "undefined", "unknown", "unset", "valid", "value", "varchar",
    "wrong",
}  # fmt: skip
_REFERENCE = re.compile(r"\$\w+|%\w+%|\$\{.*|\{\{.*|<.*|@\w+|\$\(.*")
_MASK = re.compile(r"(.)\1*|[*•.…]+\w{0,4}|\w{0,4}[*•.…]{3,}\w{0,4}|[xX]{4,}[\w-]*")
_ROW = re.compile(r"(.)\1{7,}")
_CODE = re.compile(
    r"(?:self|this|os|sys|process|env|environ|settings|config|cfg|conf|request|req|response|resp|args|options|opts"
    r"|params|ctx|context|data|app|user|secrets|vault|var|local|vars|inputs|steps|github|ENV)\.[\w.]+"
    r"|[a-z_]\w*(?:\.[a-z_]\w*)*\.[A-Z][A-Za-z]+"
)
_PATH = re.compile(r"(?:[~.]{0,2}|[A-Za-z]:)[/\\](?:[\w.@-]+[/\\])+[\w.@-]*|/[a-z][a-z._-]{1,30}")
_NAMELIKE = re.compile(r"[A-Za-z_][A-Za-z_.-]*")
_SAMPLE = re.compile(r"(?i)your|my[_-]|example|placeholder|insert|enter[_-]|dummy|sample|some[_-]|the[_-]")
_KEYWORDS = re.compile(r"(?i)passw|pwd|secret|token|key|cred|auth")


def is_varied(body: str) -> bool:
    """Whether it can be random: not a row of one letter, not words."""
    if len(set(body)) < 6:
        return False
    return sum(map(str.isdigit, body)) > 2 or not (body.islower() or body.isupper())


def is_reference(value: str) -> bool:
    """Whether it stands for a secret that is elsewhere, hides one already, or is a mere filler."""
    if _REFERENCE.fullmatch(value) or _MASK.fullmatch(value):
        return True
    if 3 * value.lower().count("x") > 2 * len(value):
        return True
    row = _ROW.search(value)
    return row is not None and 2 * (row.end() - row.start()) > len(value)


def may_be_secret(value: str, *, password: bool, loose: bool, quoted: bool) -> bool:
    """Whether a text beside a secret's name is the secret, and not a type, a reference or a word of a sentence.

    Args:
        password: people make it up themselves, so it may be a plain word or a short number.
        loose: there is a blank between name and value, as in sentences and in code.
        quoted: it is between quotation marks, so it is no name of a variable.
    """
    if len(value) < 4 or value.lower().strip(".:!?*_-") in _NO_SECRETS:
        return False
    if is_reference(value) or _PATH.fullmatch(value):
        return False
    if value.isdigit():
        return password or len(value) >= 16
    if not _NAMELIKE.fullmatch(value):
        return quoted or not _CODE.fullmatch(value)
    if _SAMPLE.match(value):
        return False
    if quoted or not loose:
        return not (_KEYWORDS.search(value) and (not quoted or _is_secret_name(value)))
    return password and not _KEYWORDS.search(value) and "." not in value
