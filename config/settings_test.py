"""Settings of the test suite: the product's own, with a throw-away data directory and fast hashing.

``HOLDFAST_TEST_STACK=scaled`` runs the same tests on PostgreSQL and Redis.
"""

import os
import tempfile

STACK = os.environ.get("HOLDFAST_TEST_STACK", "embedded")
if STACK == "scaled":
    os.environ["DATABASE_URL"] = os.environ.get("TEST_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres")
    os.environ["REDIS_URL"] = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/15")
else:
    os.environ.pop("DATABASE_URL", None)
    os.environ.pop("REDIS_URL", None)
os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="holdfast-test-")
os.environ["ENV_FILE"] = os.devnull
os.environ["SECRET_KEY"] = "test-" + "x" * 50
os.environ["DEBUG"] = "true"

from config.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
#: Tests send as fast as they can; those of the limit set it.
SEND_RATE = 0
if STACK == "scaled":
    # Nothing here survives the run: waiting for a disk that others use too would only make it slow.
    DATABASES["default"]["OPTIONS"]["options"] += " -c synchronous_commit=off"  # noqa: F405
