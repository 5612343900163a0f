"""Which records an operator looks at, as the address of the page says it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator

from common.errors import NotFound
from copilot.people import find_person
from copilot.usage.spend import Period, Selection

#: Choices of a period that ends today, in days.
RECENT = (7, 30, 90)
DEFAULT_DAYS = 30
#: The longest period: a bar for each day of it has to be seen.
DAYS_MAX = 366
#: Far from the first and the last day that there can be, from which no period can be counted.
_POSSIBLE = (MinValueValidator(date(1970, 1, 1)), MaxValueValidator(date(2999, 12, 31)))


class _Day(forms.DateInput):
    """A day, in the browser's own calendar."""

    input_type = "date"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%d")


class SelectionForm(forms.Form):
    """A period, either ``days`` that end today or from ``since`` to ``until``; whose calls, and of which model."""

    days = forms.TypedChoiceField(choices=[(days, days) for days in RECENT], coerce=int, required=False)
    since = forms.DateField(label="From", required=False, widget=_Day, validators=_POSSIBLE)
    until = forms.DateField(label="To", required=False, widget=_Day, validators=_POSSIBLE)
    user = forms.CharField(label="Person", required=False, max_length=254)
    model = forms.CharField(label="Model", required=False, max_length=200)

    def clean_user(self) -> Any:
        """Return the person's id, None when nobody is named."""
        if not (wanted := self.cleaned_data["user"]):
            return None
        try:
            return find_person(wanted).pk
        except NotFound as error:
            raise ValidationError(error.detail) from error

    def clean(self) -> dict[str, Any]:
        """Refuse a period that ends before it begins, or is longer than a page can show."""
        cleaned = self.cleaned_data
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and until < since:
            self.add_error("until", "The period ends before it begins.")
        elif since and until and (until - since).days >= DAYS_MAX:
            self.add_error("until", f"Choose {DAYS_MAX} days at most.")
        return cleaned

    def selection(self) -> Selection:
        """Return what is looked at; after ``is_valid``."""
        cleaned = self.cleaned_data
        period = Period.of_days(cleaned["days"] or DEFAULT_DAYS)
        if since := cleaned["since"]:
            period = Period(
                since, cleaned["until"] or min(max(since, period.last), since + timedelta(DAYS_MAX - 1))
            )
        elif until := cleaned["until"]:
            period = Period(until - timedelta(days=DEFAULT_DAYS - 1), until)
        return Selection(period, cleaned["user"], cleaned["model"])
