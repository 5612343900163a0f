"""All settings, from the environment. ``docs/settings.md`` explains each of them."""

from __future__ import annotations

import os
from pathlib import Path

import environ
from csp.constants import NONE, SELF

from config.env import BadSetting, Reader

ROOT = Path(__file__).resolve().parent.parent
environ.Env.read_env(os.environ.get("ENV_FILE", ROOT / ".env"))
env = Reader()

# --- where things are -----------------------------------------------------------------
DATA_DIR = Path(env.text("DATA_DIR", str(ROOT / "var"))).expanduser().absolute()
DATABASE_URL = env.text("DATABASE_URL", f"sqlite:///{DATA_DIR / 'holdfast.sqlite3'}")
REDIS_URL = env.redis("REDIS_URL")
#: One process serves, works and sweeps; broker and channel layer live in its memory.
EMBEDDED = not REDIS_URL

# --- Django ---------------------------------------------------------------------------
DEBUG = env.flag("DEBUG", default=False)
#: Empty until ``manage.py up`` generates one into DATA_DIR; a system check refuses to go on without.
SECRET_KEY = env.text("SECRET_KEY")
_key_file = DATA_DIR / "secret_key"
if not SECRET_KEY and _key_file.is_file():
    SECRET_KEY = _key_file.read_text().strip()
SECRET_KEY_MISSING = not SECRET_KEY
if SECRET_KEY_MISSING:
    SECRET_KEY = "insecure-" + "0" * 50  # lets commands such as `check` say what is wrong

#: Former keys: what was signed and sealed with them is still read.
SECRET_KEY_FALLBACKS = env.names("SECRET_KEY_FALLBACKS")
HOST = env.text("HOST", "127.0.0.1")
PORT = env.number("PORT", 8000)
BASE_URL = env.text("BASE_URL").rstrip("/")
ALLOWED_HOSTS = env.names("ALLOWED_HOSTS", ("127.0.0.1", "localhost", "[::1]"))
CSRF_TRUSTED_ORIGINS = env.names("CSRF_TRUSTED_ORIGINS")
SIGNUP = env.one_of("SIGNUP", ("open", "closed", "invite"), "closed")

INSTALLED_APPS = [
    "config",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "servestatic",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "approvals",
    "copilot",
    "chat",
    "linking",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "chat.sidebar.around_pages",
                "linking.around.around_pages",
            ]
        },
    }
]

# --- database ---------------------------------------------------------------------------
DATABASES = {"default": env.database("DATABASE_URL", DATABASE_URL)}
_database = DATABASES["default"]
if _database["ENGINE"].endswith("sqlite3"):
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 5,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
else:
    # A pool of explicit size: what a process holds at most is known before it is needed.
    DATABASE_POOL = env.number("DATABASE_POOL", 10, least=2)
    _database["CONN_MAX_AGE"] = 0
    _database["CONN_HEALTH_CHECKS"] = True  # a connection that died in the pool is not handed out
    _database["OPTIONS"] = {
        **_database.get("OPTIONS", {}),
        "prepare_threshold": 5,  # a number allows what common/statements.py asks for; Django says None
        "pool": {"min_size": 1, "max_size": DATABASE_POOL, "timeout": 10},
        "options": "-c lock_timeout=3000 -c idle_in_transaction_session_timeout=60000",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ATOMIC_REQUESTS = False

# --- people -----------------------------------------------------------------------------
AUTH_USER_MODEL = "copilot.User"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
#: Called by every surface with the value of an `Authorization: Bearer` header.
KEY_AUTHENTICATOR = "linking.keys.authenticate_key"
SESSION_COOKIE_NAME = "holdfast_session"
CSRF_COOKIE_NAME = "holdfast_csrf"
if BASE_URL.startswith("https://"):
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
#: For how long browsers refuse to come over http at all; 0: they are not told to.
SECURE_HSTS_SECONDS = env.number("HSTS_SECONDS", 0)
#: Answer http with a redirect to https, but for what machines on this host ask.
SECURE_SSL_REDIRECT = env.flag("SSL_REDIRECT", default=False)
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)$"]
# The other hosts of the domain, and lists that browsers come with, are for whoever owns the domain to decide.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

# --- pages ------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
# Served from the apps' own folders: no collectstatic step on a laptop.
STATIC_ROOT = None
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_ALLOW_ALL_ORIGINS = False
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:", "blob:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "worker-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"

# --- REST -------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "common.auth.BearerAuthentication",
        "common.auth.CookieAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["common.auth.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "common.errors.rest_exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Holdfast",
    "DESCRIPTION": "A self-hosted copilot: sessions, messages and durable turns.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "common.apidocs.tag_streams"],
    "PREPROCESSING_HOOKS": [
        "chat.api.schema.add_async_operations",
        "linking.api.turn_schema.add_async_operations",
    ],
    # What generated clients call them: without names of their own they change when another one comes along.
    "ENUM_NAME_OVERRIDES": {
        "ApprovalKind": "approvals.models.Action.Kind",
        "ApprovalStatus": "approvals.models.Action.Status",
        "ApprovalEvent": "approvals.models.AuditEntry.Event",
        "ChatTrigger": "chat.ui.request.TRIGGERS",
        "InterruptStatus": "chat.agui.request.STATUSES",
        "KeyScope": "common.auth.SCOPES",
        "LinkKind": "linking.models.links.LinkKind",
        "LinkTokenStatus": "linking.api.components.TOKEN_STATUSES",
    },
}

# --- channels and celery ------------------------------------------------------------------
if EMBEDDED:
    CHANNEL_LAYERS = {"default": {"BACKEND": "common.layers.LocalChannelLayer", "CONFIG": {"capacity": 1000}}}
else:
    # "pubsub" keeps nothing in Redis and is several times faster; "queue" is the older one.
    _layer = env.one_of("CHANNEL_LAYER", ("pubsub", "queue"), "pubsub")
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": {
                "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "queue": "channels_redis.core.RedisChannelLayer",
            }[_layer],
            "CONFIG": {"hosts": [REDIS_URL]},
        }
    }

# --- logging ------------------------------------------------------------------------------
LOG_LEVEL = env.one_of("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), "INFO")
#: A line for people, or a JSON object a line for programs.
LOG_FORMAT = env.one_of("LOG_FORMAT", ("line", "json"), "line")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "common.logs.LineFormatter"},
        "json": {"()": "common.logs.JsonFormatter"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        **{app: {"level": LOG_LEVEL} for app in ("common", "approvals", "copilot", "chat", "linking", "config")},
        "django.channels.server": {"level": "WARNING"},
        # They write what they could not read of a server's messages, or all that comes from Redis: people's texts
        # are part of it.
        **{name: {"level": "CRITICAL"} for name in ("mcp", "client", "push_response")},
    },
}

# --- metrics and traces ---------------------------------------------------------------------
#: Where a worker process answers with its metrics, which serves no pages; 0: nowhere.
METRICS_PORT = env.number("METRICS_PORT", 0)
METRICS_HOST = env.text("METRICS_HOST", "127.0.0.1")
#: Web processes that share a port share this, too: each answers for all of them.
PROMETHEUS_MULTIPROC_DIR = env.text("PROMETHEUS_MULTIPROC_DIR")
if PROMETHEUS_MULTIPROC_DIR:
    try:
        Path(PROMETHEUS_MULTIPROC_DIR).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadSetting(
            "PROMETHEUS_MULTIPROC_DIR", f"cannot be made ({error.strerror}). Name another."
        ) from error
#: Where spans are sent (OpenTelemetry); empty: nowhere.
OTEL_EXPORTER_OTLP_ENDPOINT = env.text("OTEL_EXPORTER_OTLP_ENDPOINT")

# --- providers and models -----------------------------------------------------------------
OPENAI_API_KEY = env.text("OPENAI_API_KEY")
OPENAI_BASE_URL = env.text("OPENAI_BASE_URL")
ANTHROPIC_API_KEY = env.text("ANTHROPIC_API_KEY")
ANTHROPIC_BASE_URL = env.text("ANTHROPIC_BASE_URL")
ANTHROPIC_CACHE = env.one_of("ANTHROPIC_CACHE", ("5m", "1h", "off"), "5m")
COPILOT_PROVIDERS = env.json_object("COPILOT_PROVIDERS")
COPILOT_MODELS = env.names("COPILOT_MODELS")
COPILOT_DEFAULT_MODEL = env.text("COPILOT_DEFAULT_MODEL")
COPILOT_FALLBACK_MODEL = env.text("COPILOT_FALLBACK_MODEL")
COPILOT_EFFORT = env.one_of("COPILOT_EFFORT", ("", "none", "low", "medium", "high"), "")
COPILOT_MAX_OUTPUT_TOKENS = env.number("COPILOT_MAX_OUTPUT_TOKENS", 0)
COPILOT_CONTEXT_TOKENS = env.number("COPILOT_CONTEXT_TOKENS", 0)
#: Names sessions; empty: the session's own model.
COPILOT_TITLE_MODEL = env.text("COPILOT_TITLE_MODEL")
#: A session that a model named gets a new title each time that so many messages more were sent; 0: never.
COPILOT_TITLE_REFRESH = env.number("COPILOT_TITLE_REFRESH", 0)

# --- turns ----------------------------------------------------------------------------------
TURN_LEASE_SECONDS = env.seconds("TURN_LEASE_SECONDS", 5, least=0.1)
TURN_HEARTBEAT_SECONDS = env.seconds("TURN_HEARTBEAT_SECONDS", 1, least=0.02)
TURN_MAX_ATTEMPTS = env.number("TURN_MAX_ATTEMPTS", 3, least=1)
TURN_MAX_STEPS = env.number("TURN_MAX_STEPS", 50, least=1)
TURN_MAX_SECONDS = env.seconds("TURN_MAX_SECONDS", 3600, least=1)
#: Of calls whose price is known; 0 is no limit.
TURN_MAX_COST_MICRODOLLARS = env.number("TURN_MAX_COST_MICRODOLLARS", 0)
#: What one person may use, times their tier; 0 is no limit.
USAGE_DAILY_LIMIT_MICRODOLLARS = env.number("USAGE_DAILY_LIMIT_MICRODOLLARS", 0)
USAGE_WEEKLY_LIMIT_MICRODOLLARS = env.number("USAGE_WEEKLY_LIMIT_MICRODOLLARS", 0)
#: Whether people see what their turns cost; unset: as long as nothing limits it.
USAGE_SHOW_COST = env.flag_if_set("USAGE_SHOW_COST")
TOOL_MAX_SECONDS = env.seconds("TOOL_MAX_SECONDS", 300, least=1)
TURNS_PER_USER_MAX = env.number("TURNS_PER_USER_MAX", 8)
PENDING_MAX = env.number("PENDING_MAX", 10, least=1)
TEMPORARY_SESSION_SECONDS = env.seconds("TEMPORARY_SESSION_SECONDS", 86400)
#: Messages a minute that one person may send; 0 is no limit.
SEND_RATE = env.number("SEND_RATE", 30)
#: Calls a minute, but for mere reading, that one bot may make; 0 is no limit.
BOT_RATE = env.number("BOT_RATE", 600)
EVENT_RETENTION_SECONDS = env.seconds("EVENT_RETENTION_SECONDS", 86400)
#: Days that the audit logs, and records of usage, are kept; 0: for ever. There are no dates before the year 1.
AUDIT_RETENTION_DAYS = env.number("AUDIT_RETENTION_DAYS", 0, most=36_500)
USAGE_RETENTION_DAYS = env.number("USAGE_RETENTION_DAYS", 0, most=36_500)
WORKER_TURNS = env.number("WORKER_TURNS", 200, least=1)
#: What operators are shown as running for long, and as stuck in the queue.
DIAG_LONG_RUNNING_SECONDS = env.seconds("DIAG_LONG_RUNNING_SECONDS", 86400)
DIAG_STUCK_QUEUED_SECONDS = env.seconds("DIAG_STUCK_QUEUED_SECONDS", 3600)
#: How long a link that a bot hands out can be confirmed.
LINK_TOKEN_SECONDS = env.seconds("LINK_TOKEN_SECONDS", 1800, least=1)
#: Whether webhooks may be at addresses that are not public, and at any port.
WEBHOOK_LOCAL_ADDRESSES = env.flag("WEBHOOK_LOCAL_ADDRESSES", default=DEBUG)

# --- tools ------------------------------------------------------------------------------------
#: Where commands run: in bubblewrap, nowhere, or unprotected on this machine.
SHELL_SANDBOX = env.one_of("SHELL_SANDBOX", ("bwrap", "disabled", "unsafe_host"), "bwrap")
SHELL_NETWORK = env.flag("SHELL_NETWORK", default=False)

# --- approvals ------------------------------------------------------------------------------
#: Off: nobody is asked about any tool; what is denied stays denied.
APPROVALS_ENABLED = env.flag("APPROVALS_ENABLED", default=True)
APPROVALS_MODE = env.one_of("APPROVALS_MODE", ("default", "bypass", "dont_ask"), "default")
#: Globs over the full names of tools.
APPROVALS_ALLOW = env.names("APPROVALS_ALLOW")
APPROVALS_DENY = env.names("APPROVALS_DENY")
APPROVALS_ASK = env.names("APPROVALS_ASK")
#: Shown to who is asked, in place of the server's own words.
APPROVALS_REASON = env.text("APPROVALS_REASON")
APPROVALS_WINDOW_SECONDS = env.seconds("APPROVALS_WINDOW_SECONDS", 86400, least=1)

# --- tools ----------------------------------------------------------------------------------
#: MCP servers by name: programs to start, or addresses.
MCP_SERVERS = env.json_object("MCP_SERVERS")

#: Functions that look at what people write before it is stored: `package.module.function`, each returns why it
#: refuses a text, or None.
TEXT_CHECKERS = env.names("TEXT_CHECKERS")

# --- adapters of chat platforms ---------------------------------------------------------------
#: Where ``manage.py run_bot`` reaches this server; it may run elsewhere.
HOLDFAST_URL = env.text("HOLDFAST_URL", BASE_URL or f"http://127.0.0.1:{PORT}")
TELEGRAM_HOLDFAST_KEY = env.text("TELEGRAM_HOLDFAST_KEY")
TELEGRAM_TOKEN = env.text("TELEGRAM_TOKEN")
TELEGRAM_API_URL = env.text("TELEGRAM_API_URL", "https://api.telegram.org")
TELEGRAM_WEBHOOK_URL = env.text("TELEGRAM_WEBHOOK_URL")
TELEGRAM_WEBHOOK_SECRET = env.text("TELEGRAM_WEBHOOK_SECRET")
TELEGRAM_WEBHOOK_LISTEN = env.text("TELEGRAM_WEBHOOK_LISTEN", "127.0.0.1:8081")
DISCORD_HOLDFAST_KEY = env.text("DISCORD_HOLDFAST_KEY")
DISCORD_TOKEN = env.text("DISCORD_TOKEN")
DISCORD_API_URL = env.text("DISCORD_API_URL", "https://discord.com/api/v10")
DISCORD_PUBLIC_KEY = env.text("DISCORD_PUBLIC_KEY")
DISCORD_WEBHOOK_LISTEN = env.text("DISCORD_WEBHOOK_LISTEN", "127.0.0.1:8082")
SLACK_HOLDFAST_KEY = env.text("SLACK_HOLDFAST_KEY")
SLACK_BOT_TOKEN = env.text("SLACK_BOT_TOKEN")
SLACK_APP_TOKEN = env.text("SLACK_APP_TOKEN")
SLACK_SIGNING_SECRET = env.text("SLACK_SIGNING_SECRET")
SLACK_API_URL = env.text("SLACK_API_URL", "https://slack.com/api/")
SLACK_WEBHOOK_LISTEN = env.text("SLACK_WEBHOOK_LISTEN", "127.0.0.1:8083")

# --- reaching people ----------------------------------------------------------------------
APPROVALS_REACH_SECONDS = env.seconds("APPROVALS_REACH_SECONDS", 15)
_email = env.email("EMAIL_URL")
EMAIL_ENABLED = bool(_email)
globals().update(_email)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.text("EMAIL_FROM", "holdfast@localhost")
VAPID_PRIVATE_KEY = env.text("VAPID_PRIVATE_KEY")
VAPID_PUBLIC_KEY = env.text("VAPID_PUBLIC_KEY")
VAPID_SUBJECT = env.text("VAPID_SUBJECT")

#: Names of fault points that are armed; for tests of crashes only.
FAULT_POINTS = env.names("FAULT_POINTS")
if FAULT_POINTS and not DEBUG:
    raise BadSetting("FAULT_POINTS", "fault points only work with DEBUG=true. Remove it.")
