"""config -> the names Django, DRF and Celery expect. Nothing is decided here."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import dj_database_url

from nimbus_project.config import ROOT, config
from nimbus_project.core.logging import logging_config
from nimbus_project.core.storage import storages

_config = config()
_config.var_dir.mkdir(parents=True, exist_ok=True)


def _secret_key(path: Path) -> str:
    """The node's key: made once, kept readable by its owner only."""
    if _config.secret_key:
        return _config.secret_key
    try:
        with path.open("x") as file:
            path.chmod(0o600)
            file.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass
    return path.read_text()


SECRET_KEY = _secret_key(_config.var_dir / "secret_key")
DEBUG = _config.debug
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", *filter(None, _config.allowed_hosts.split(","))]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "django_prometheus",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "rest_framework",
    "nimbus_project",
    "accounts",
    "functions",
    "invocations",
    "workflows",
    "triggers",
    "workers",
]

# Request ids, the guard, sizes and slashes are the entrance's (asgi.py), before any of these.
MIDDLEWARE = [
    "nimbus_project.secure_cookies.SecureCookies",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "nimbus_project.urls"
ASGI_APPLICATION = "nimbus_project.asgi.application"
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
            ]
        },
    }
]


def _database() -> dict[str, Any]:
    database: dict[str, Any] = dict(dj_database_url.parse(_config.database))
    options = database.setdefault("OPTIONS", {})
    if database["ENGINE"].endswith("sqlite3"):
        # IMMEDIATE: a transaction that will write takes the lock at its start, so that two of them wait for each
        # other instead of failing with "database is locked" in the middle (sqlite.org/lang_transaction.html).
        options |= {
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-16000;",
        }
    else:
        # ASGI gives each request its own thread: without a pool each would open its own connection. While the database
        # is away a caller hears of it within `timeout`; the pool gives a lost connection up after `reconnect_timeout`
        # and makes a new one for who asks next: its own waits, which double, would outlast the outage.
        pool = {"min_size": 1, "max_size": _config.worker_threads + 8, "timeout": 5, "reconnect_timeout": 5}
        from nimbus_project.core.postgres import TellingConnection

        options["pool"] = pool | {"connection_class": TellingConnection}
    return database


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
APPEND_SLASH = True
STATIC_URL = "static/"
STATIC_ROOT = _config.var_dir / "static"
MEDIA_ROOT = _config.var_dir / "files"
STORAGES = storages(_config.storage_url)
DATA_UPLOAD_MAX_MEMORY_SIZE = _config.max_request_bytes

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login"
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"

LOGGING_CONFIG = "logging.config.dictConfig"
LOGGING = logging_config(_config.log_level)

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.permissions.TablePermission"],
    "DEFAULT_PARSER_CLASSES": ["nimbus_project.core.parsers.StrictJsonParser"],
    "DEFAULT_RENDERER_CLASSES": [
        "nimbus_project.core.renderers.OrjsonRenderer",
        "rest_framework.renderers.BrowsableAPIRenderer",
    ],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "nimbus_project.core.renderers.JsonUnlessAsked",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": None,
    "EXCEPTION_HANDLER": "nimbus_project.core.exception_handler.handle",
    "UNAUTHENTICATED_USER": None,
    "DATETIME_FORMAT": "iso-8601",
}
SPECTACULAR_SETTINGS = {
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "TITLE": "Nimbus",
    "DESCRIPTION": "Self-hosted serverless functions.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "nimbus_project.openapi.complete",
    ],
    # Several fields are called so; without a name of its own this one would get a new one with each of the others.
    "ENUM_NAME_OVERRIDES": {
        "FunctionStatusEnum": "functions.models.FunctionStatus",
        "EventStatusEnum": "triggers.serializers.events.EVENT_STATUSES",
        # Also of an alert's messages, which come to the same ends.
        "DeliveryStatusEnum": "triggers.models.DeliveryStatus",
        "EventReplayStatusEnum": "triggers.models.ReplayStatus",
        "AlertStateEnum": "triggers.serializers.alerts.STATES",
        "AlertKindEnum": "triggers.serializers.alerts.KINDS",
        "AlertChannelTypeEnum": "triggers.serializers.alerts.TYPES",
        "AlertToldEnum": "triggers.serializers.alerts.TOLD",
    },
    "SERVE_PERMISSIONS": ["accounts.permissions.TablePermission"],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "SWAGGER_UI_SETTINGS": {"persistAuthorization": True},
}

EMAIL_HOST = _config.smtp_host
EMAIL_PORT = _config.smtp_port
EMAIL_HOST_USER = _config.smtp_user
EMAIL_HOST_PASSWORD = _config.smtp_password
EMAIL_USE_TLS = _config.smtp_security == "starttls"
EMAIL_USE_SSL = _config.smtp_security == "tls"
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = _config.smtp_from

CELERY_BROKER_URL = _config.redis if not _config.redis.startswith("unix://") else "redis+socket" + _config.redis[4:]
