"""Tables of what makes functions run: one noun per file."""

from triggers.models.webhooks import Webhook as Webhook
from triggers.models.webhooks import WebhookDelivery as WebhookDelivery
