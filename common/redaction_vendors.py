"""Keys that begin like anything else, known only by the name of their service beside them, and by their form.

Facts that the services publish: how long a key is, and which characters it has. A form is exact, so that a
version, a digest of another length or a word beside the same name is none.
"""

from __future__ import annotations

import re
from functools import lru_cache

from common.redaction_names import is_varied

_UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


def _plain(*lengths: int) -> str:
    """Letters and digits."""
    return "|".join(f"[A-Za-z0-9]{{{length}}}" for length in lengths)


def _hex(*lengths: int) -> str:
    return "|".join(f"[0-9a-fA-F]{{{length}}}" for length in lengths)


def _word(*lengths: int) -> str:
    """Letters, digits, and what tokens have between them."""
    return "|".join(f"[A-Za-z0-9_=-]{{{length}}}" for length in lengths)


#: The names of a service in small letters, separated by blanks; the forms of its keys.
VENDORS: tuple[tuple[str, str], ...] = (
    ("adafruit", _word(32)),
    ("airtable", _plain(17)),
    ("algolia", _plain(32)),
    ("alibaba", _plain(30)),
    ("artifactory jfrog bintray xray", _plain(64, 73)),
    ("asana", _plain(32)),
    ("beamer", "b_" + _word(44)),
    ("bitbucket", f"{_plain(32)}|{_word(64)}"),
    ("bittrex", _plain(32)),
    ("cloudflare", f"{_hex(37)}|{_word(40)}"),
    ("codecov", f"{_plain(32)}|{_UUID}"),
    ("coinbase", _word(64)),
    ("confluent", _plain(16, 64)),
    ("contentful", _word(43)),
    ("datadog", _plain(32, 40)),
    ("discord", f"{_hex(64)}|{_word(32)}"),
    ("droneci", _plain(32)),
    ("dropbox", f"{_plain(15)}|[a-z0-9]{{11}}A{{10}}[A-Za-z0-9_=-]{{43}}"),
    ("etsy", _plain(24)),
    ("facebook", _hex(32)),
    ("fastly", _word(32)),
    ("finicity", f"{_hex(32)}|{_plain(20)}"),
    ("finnhub", _plain(20)),
    ("flickr", _plain(32)),
    ("freshbooks", _plain(64)),
    ("gitter", _word(40)),
    ("heroku", _UUID),
    ("hubspot", _UUID),
    ("intercom", _word(60)),
    ("kraken", "[A-Za-z0-9/=_+-]{80,90}"),
    ("kucoin", f"{_hex(24)}|{_UUID}"),
    ("launchdarkly", _word(40)),
    ("linear", _hex(32)),
    ("linkedin linked_in linked-in", _plain(14, 16)),
    ("looker", _plain(20, 24)),
    ("mailchimp", "[0-9a-f]{32}-us[0-9]{1,2}"),
    ("mailgun", "[0-9a-h]{32}-[0-9a-h]{8}-[0-9a-h]{8}"),
    ("mattermost", _plain(26)),
    ("meraki", _hex(40)),
    ("messagebird message_bird message-bird", f"{_plain(25)}|{_UUID}"),
    ("netlify", "[A-Za-z0-9_=-]{40,46}"),
    ("newrelic new_relic new-relic", _plain(64)),
    ("nytimes newyorktimes new-york-times", _word(32)),
    ("okta", "00[A-Za-z0-9_=-]{40}"),
    ("plaid", f"{_plain(24, 30)}|access-(?:sandbox|development|production)-{_UUID}"),
    ("rapidapi", _word(50)),
    ("sendbird", f"{_hex(40)}|{_UUID}"),
    ("sentry", _hex(64)),
    ("snyk", _UUID),
    ("sonar", _word(40)),
    ("sourcegraph", _hex(40)),
    ("squarespace", _UUID),
    ("sumo", f"su[A-Za-z0-9]{{12}}|{_plain(64)}"),
    ("travis", _plain(22)),
    ("trello", _plain(32, 64)),
    ("twitch", _plain(30)),
    ("twitter", f"{_plain(25, 45, 50)}|A{{22}}[A-Za-z0-9%]{{80,100}}|[0-9]{{15,25}}-[A-Za-z0-9]{{20,40}}"),
    ("yandex", f"{_word(40)}|t1\\.[A-Za-z0-9_-]+={{0,2}}\\.[A-Za-z0-9_-]{{86}}={{0,2}}"),
    ("zendesk", _plain(40)),
)

FORMS: dict[str, re.Pattern[str]] = {name: re.compile(form) for names, form in VENDORS for name in names.split()}
_NAMES = re.compile("|".join(map(re.escape, FORMS)), re.IGNORECASE)
#: What stands before a digest or an id, and not before a key.
_NO_KEY = re.compile(
    r"(?i)(?:sha[ _-]?\d{0,3}|md5|hash|digest|checksum|commit|rev|revision|etag|integrity|version|build|release"
    r"|guid|uuid"
    r"|(?<!access)(?:[ _-]|(?<=[a-z]))id)[ \t._-]*\Z"
)


def is_vendor_key(name: str, between: str, value: str) -> bool:
    """Whether a value behind the name of a service has the form of its keys.

    Args:
        between: what else is before the assignment, such as ``_api_key``.
    """
    if not (name.islower() or name.isupper() or name[1:].islower()):
        return False  # a part of other words: "CameraKit" has "meraKi"
    form = FORMS[name.lower()]
    return form.fullmatch(value) is not None and is_varied(value) and _NO_KEY.search(between) is None


def is_named_after_vendor(name: str, value: str) -> bool:
    """Whether ``{"HEROKU_KEY": "…"}`` holds a key of the service in its name."""
    service, rest = _service_in(name[-64:])
    return service != "" and is_vendor_key(service, rest, value)


@lru_cache(maxsize=2048)
def _service_in(name: str) -> tuple[str, str]:
    """Return the first name of a service in a name, and what is behind it."""
    found = _NAMES.search(name)
    return (found.group(), name[found.end() :]) if found else ("", "")
