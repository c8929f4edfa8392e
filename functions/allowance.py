"""What an owner's functions amount to, and whether the quota lets them grow.

Of a function counts its newest version, also while that is being built: its memory (or an environment's, if larger) and
the size of what was uploaded. Everything that makes a version asks here, in the transaction that made it.
"""

from __future__ import annotations

from django.db.models import Count, Max, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce, Greatest

from accounts import quotas
from accounts.quotas import Amount
from functions.models import Function, FunctionEnvironment, FunctionVersion, Network
from nimbus_project.config import config
from nimbus_project.core.errors import Forbidden


def admit(function: Function, version: FunctionVersion) -> None:
    """See that the owner may have this new version, its row already there. Raises QuotaExceeded, Forbidden."""
    if version.network == Network.EGRESS and not config().allow_egress:
        raise Forbidden(
            "Functions may not have network access here (NIMBUS_ALLOW_EGRESS). Set network to none.",
            code="egress_not_allowed",
        )
    limits = quotas.read_limits(function.owner_id)
    if not limits.bound_growth:
        return
    quotas.lock_growth(function.owner_id)
    quotas.check_growth(limits, amount_of(function.owner_id), _added(function, version))


def admit_memory(function: Function, more_mb: int) -> None:
    """The same for what an environment adds. Raises QuotaExceeded."""
    limits = quotas.read_limits(function.owner_id)
    if more_mb > 0 and limits.max_memory_mb:
        quotas.lock_growth(function.owner_id)
        quotas.check_growth(limits, amount_of(function.owner_id), Amount(memory_mb=more_mb))


def amount_of(owner_id: int | None) -> Amount:
    """All that an owner has; None: what nobody owns."""
    total = _sized(Function.objects.filter(owner_id=owner_id)).aggregate(
        functions=Count("pk"), memory_mb=Sum("sized_mb"), code_bytes=Sum("sized_bytes")
    )
    return Amount(**{name: value or 0 for name, value in total.items()})


def memory_mb_of(function: Function) -> int:
    """What it counts with."""
    total: int | None = _sized(Function.objects.filter(pk=function.pk)).aggregate(mb=Sum("sized_mb"))["mb"]
    return total or 0


def _added(function: Function, version: FunctionVersion) -> Amount:
    older = function.versions.select_related("package").filter(version__lt=version.version).order_by("-version").first()
    if older is None:
        return Amount(functions=1, memory_mb=version.memory_mb, code_bytes=version.package.size_bytes)
    elsewhere = function.environments.aggregate(most=Max("memory_mb"))["most"] or 0
    return Amount(
        memory_mb=max(version.memory_mb, elsewhere) - max(older.memory_mb, elsewhere),
        code_bytes=version.package.size_bytes - older.package.size_bytes,
    )


def _sized(functions: QuerySet[Function]) -> QuerySet[Function]:
    newest = FunctionVersion.objects.filter(function=OuterRef("pk")).order_by("-version")
    elsewhere = FunctionEnvironment.objects.filter(function=OuterRef("pk")).order_by().values("function")
    return functions.order_by().annotate(
        sized_mb=Greatest(
            Coalesce(Subquery(newest.values("memory_mb")[:1]), 0),
            Coalesce(Subquery(elsewhere.annotate(most=Max("memory_mb")).values("most")), 0),
        ),
        sized_bytes=Subquery(newest.values("package__size_bytes")[:1]),
    )
