"""REST for approvals and remembered rules, under ``/api/v1/``."""
