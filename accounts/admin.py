"""Users, keys, quotas and the audit log in Django's admin. What was logged is to read; keys are made where they can be
shown once (API, `createapikey`) and revoked here."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.forms import ModelForm, model_to_dict
from django.http import HttpRequest

from accounts import rights, services
from accounts.models import ApiKey, AuditEntry, Member, Quota
from accounts.principal import principal_var
from accounts.selectors import role_of
from nimbus_project.core.errors import NimbusError


class ReadOnlyAdmin(admin.ModelAdmin):
    """History: nothing here may change."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyInline(admin.TabularInline):
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class KeyInline(ReadOnlyInline):
    model = ApiKey
    fields = ("name", "prefix", "role", "expires_at", "revoked_at", "last_used_at")
    readonly_fields = fields
    show_change_link = True


class MemberInline(admin.StackedInline):
    model = Member
    can_delete = False


class QuotaInline(admin.StackedInline):
    model = Quota
    extra = 0


admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class NimbusUserAdmin(UserAdmin):
    """Role and activity go through the services, so that keys follow at once and the change is logged."""

    list_display = ("username", "role", "is_active", "email", "last_login", "date_joined")
    list_filter = ("member__role", "is_active")
    search_fields = ("username", "email")
    list_select_related = ("member",)
    inlines: ClassVar = [MemberInline, QuotaInline, KeyInline]
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Access", {"fields": ("is_active", "last_login", "date_joined")}),
    )
    readonly_fields = ("last_login", "date_joined")
    filter_horizontal = ()

    @admin.display(description="Role", ordering="member__role")
    def role(self, user: User) -> str:
        return role_of(user) or "none"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Deactivate; deleting is the API's, which sees to what the user owns."""
        return False

    def get_inlines(self, request: HttpRequest, obj: User | None) -> list[Any]:
        """A user to be has a name and a password; the rest comes on the next page."""
        return [] if obj is None else list(self.inlines)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if not change:
            services.user_store(obj, rights.VIEWER)
            return
        # What no service knows is saved as it is; what rights hang on goes through the service.
        User.objects.filter(pk=obj.pk).update(username=obj.username, first_name=obj.first_name, last_name=obj.last_name)
        self._update(request, obj, active=obj.is_active, email=obj.email)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        rows = formset.save(commit=False)
        if formset.model is Member:
            for row in rows:
                self._update(request, form.instance, role=row.role)
        elif formset.model is Quota:
            for row in formset.deleted_objects:
                services.quota_delete(row)
            for row in rows:
                stored = Quota.objects.filter(pk=row.pk).first()
                services.quota_save(row, model_to_dict(stored) if stored else dict.fromkeys(model_to_dict(row)))

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> Any:
        """Django's own page, which saves by itself; the change is logged with it."""
        with transaction.atomic():
            answer = super().user_change_password(request, id, form_url)
            if request.method == "POST" and answer.status_code == HTTPStatus.FOUND:
                services.password_changed(id)
        return answer

    def _update(self, request: HttpRequest, user: User, **given: Any) -> None:
        try:
            services.user_update(str(user.pk), **given)
        except NimbusError as error:
            messages.error(request, error.message)


@admin.register(Group)
class NimbusGroupAdmin(GroupAdmin):
    """Groups mean nothing to Nimbus: roles do."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(Member)
class MemberAdmin(ReadOnlyAdmin):
    list_display = ("user", "role")
    list_filter = ("role",)
    search_fields = ("user__username",)
    list_select_related = ("user",)


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    list_display = ("name", "shown", "owner", "role", "expires_at", "revoked_at", "last_used_at", "created_at")
    list_filter = ("role", ("revoked_at", admin.EmptyFieldListFilter), "expires_at", "created_at")
    search_fields = ("name", "prefix", "owner__username")
    list_select_related = ("owner",)
    exclude = ("secret_sha256",)
    actions = ("revoke",)

    @admin.display(description="Key", ordering="prefix")
    def shown(self, row: ApiKey) -> str:
        return f"nmb_{row.prefix}_…"

    @admin.action(description="Revoke: refused from now on", permissions=["view"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for row in queryset:
            services.api_key_revoke(principal_var.get(), str(row.pk))
        self.message_user(request, f"{len(queryset)} revoked.", messages.SUCCESS)


class QuotaForm(ModelForm):
    def clean_owner(self) -> User | None:
        """One row without an owner: it is everybody's default, which a database takes for many different ones."""
        owner: User | None = self.cleaned_data["owner"]
        if owner is None and Quota.objects.filter(owner=None).exclude(pk=self.instance.pk).exists():
            raise ValidationError("There is a quota for everybody already. Change that one, or choose an owner.")
        return owner


@admin.register(Quota)
class QuotaAdmin(admin.ModelAdmin):
    form = QuotaForm
    list_display = ("owner_name", "max_functions", "max_memory_mb", "max_invocations_per_day", "max_code_size_kb")
    list_editable = ("max_functions", "max_memory_mb", "max_invocations_per_day", "max_code_size_kb")
    search_fields = ("owner__username",)
    list_select_related = ("owner",)
    autocomplete_fields = ("owner",)

    def save_model(self, request: HttpRequest, obj: Quota, form: Any, change: bool) -> None:
        services.quota_save(obj, {key: form.initial.get(key) for key in form.changed_data})

    def delete_model(self, request: HttpRequest, obj: Quota) -> None:
        services.quota_delete(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Quota]) -> None:
        for row in queryset:
            services.quota_delete(row)

    @admin.display(description="Owner", ordering="owner__username", empty_value="everybody")
    def owner_name(self, row: Quota) -> str | None:
        return row.owner.get_username() if row.owner is not None else None


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "actor", "action", "object_name", "object_type", "key_prefix", "address")
    list_filter = ("action", "object_type", "at")
    search_fields = ("actor", "object_name", "=object_id", "=request_id", "=key_prefix", "address")
    date_hierarchy = "at"
    show_full_result_count = False
