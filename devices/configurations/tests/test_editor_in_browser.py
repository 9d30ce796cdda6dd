"""The configuration editor in a browser."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from devices.configurations.models import ConfigurationVersion, DeviceConfiguration
from devices.configurations.tests.documents import add_tag, save_for_tag, save_for_tenant
from devices.registry.models import Device, Tag
from devices.registry.tests.factories import DeviceFactory, TagFactory
from provisioning.tests.browser import MARKS, BrowserRunner, in_browser, sign_in
from tenants.models import Role, User
from tenants.tests.factories import MembershipFactory, TenantFactory

__all__ = ["in_browser"]  # a fixture
pytestmark = [pytest.mark.django_db(transaction=True), *MARKS]

Editor = Callable[[Callable[[Page], Any]], Any]
PASSWORD = "correct horse battery"


@pytest.fixture
def tag() -> Tag:
    """A tag that two of three devices have. The tenant's layer sets the volume to 80."""
    now = datetime.now(UTC)
    tenant = TenantFactory.create()
    tag: Tag = TagFactory.create(tenant=tenant, name="lobby")
    for device in DeviceFactory.create_batch(3, tenant=tenant)[:2]:
        add_tag(device, tag)
    save_for_tenant(tenant, {"volume": 80, "time_zone": "Europe/Berlin"}, now=now)
    return tag


@pytest.fixture
def signed_in(tag: Tag, live_server: Any, in_browser: BrowserRunner) -> Callable[..., Any]:
    """Run browser steps as a member who is signed in to the portal."""

    def run(steps: Callable[[Page, str], Any], role: Role = Role.OPERATOR, **options: Any) -> Any:
        user = User.objects.create_user(f"{role}@example.com", PASSWORD)
        MembershipFactory.create(tenant=tag.tenant, user=user, role=role)

        def all_steps(page: Page) -> Any:
            sign_in(page, live_server.url, user.email, PASSWORD)
            return steps(page, f"{live_server.url}/admin/configurations/deviceconfiguration/")

        return in_browser(all_steps, **options)

    return run


def line(page: Page, key: str) -> Any:
    return page.locator(f"[data-key={key}]")


def choose(page: Page, key: str, state: str) -> Any:
    """Select the state `inherit`, `set` or `device` of a key. Return the line of the key."""
    key_line = line(page, key)
    key_line.locator("select").first.select_option(state)
    return key_line


def save(page: Page) -> None:
    page.get_by_role("button", name="Save", exact=True).click()


def layer(tag: Tag) -> DeviceConfiguration:
    return DeviceConfiguration.every_tenant.get(tag=tag)


def test_a_layer_is_edited_with_fields_previewed_and_saved(
    tag: Tag, signed_in: Callable[..., Any]
) -> None:
    def steps(page: Page, base_url: str) -> None:
        page.goto(base_url)
        page.click("text=lobby")
        expect(line(page, "volume")).to_contain_text("80 (All devices)")
        choose(page, "volume", "set").locator("input").fill("15")
        launch = choose(page, "launch", "set")
        launch.locator("input").fill("https://signage.example.com/lobby")
        impact = page.locator("#configuration-impact")
        expect(impact).to_contain_text("2 of 2 devices would change: Volume on 2, Launch on 2")
        page.fill("#configuration-note", "Quiet, please")
        save(page)
        expect(page.locator("body")).to_contain_text("Saved as version 1.")

    signed_in(steps)
    version = ConfigurationVersion.every_tenant.get(configuration=layer(tag))
    assert version.document == {
        "volume": 15,
        "launch": {"url": "https://signage.example.com/lobby"},
    }
    assert (version.note, version.author_name) == ("Quiet, please", "operator@example.com")


def test_every_key_has_a_field_that_writes_valid_values(
    tag: Tag, signed_in: Callable[..., Any]
) -> None:
    def steps(page: Page, base_url: str) -> None:
        page.goto(f"{base_url}edit/tag/{tag.pk}/")
        choose(page, "orientation", "set").locator("select").nth(1).select_option("portrait")
        size = choose(page, "resolution", "set").locator("input")
        size.nth(0).fill("1080")
        size.nth(1).fill("1920")
        choose(page, "brightness", "set").locator("input").fill("200")
        choose(page, "volume", "device")
        choose(page, "time_zone", "set").locator("input").fill("Asia/Tokyo")
        choose(page, "locale", "set").locator("input").fill("ja-JP")
        times = choose(page, "schedule", "set")
        times.get_by_label("Sat").check()
        times.get_by_label("On", exact=True).fill("22:00")
        times.get_by_label("Off", exact=True).fill("02:00")
        launch = choose(page, "launch", "set")
        launch.locator("select").nth(1).select_option("app")
        launch.locator("input").fill("com.example.player")
        extra = choose(page, "extra", "set")
        extra.get_by_text("Add key").click()
        extra.get_by_label("Key name").fill("ticker")
        extra.get_by_placeholder("text or JSON").fill("[1, true]")
        expect(page.locator("#configuration-impact")).to_contain_text("2 of 2")
        save(page)
        expect(page.locator("body")).to_contain_text("Saved as version 1.")

    signed_in(steps)
    assert layer(tag).document == {
        "orientation": "portrait",
        "resolution": {"width": 1080, "height": 1920},
        "brightness": 200,
        "volume": None,
        "time_zone": "Asia/Tokyo",
        "locale": "ja-JP",
        "schedule": [
            {
                "days": ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday"],
                "on": "22:00",
                "off": "02:00",
            }
        ],
        "launch": {"app": "com.example.player"},
        "extra": {"ticker": [1, True]},
    }


def test_a_layer_contains_only_its_own_extra_keys(tag: Tag, signed_in: Callable[..., Any]) -> None:
    save_for_tenant(tag.tenant, {"extra": {"ticker": True}}, now=datetime.now(UTC))

    def steps(page: Page, base_url: str) -> None:
        page.goto(f"{base_url}edit/tag/{tag.pk}/")
        extra = choose(page, "extra", "set")
        expect(extra).to_contain_text("Also inherited: ticker = true")
        extra.get_by_text("Add key").click()
        extra.get_by_label("Key name").fill("build")
        extra.get_by_placeholder("text or JSON").fill("2.10")
        save(page)
        expect(page.locator("body")).to_contain_text("Saved as version 1.")

    signed_in(steps)
    assert layer(tag).document == {"extra": {"build": "2.10"}}


def test_an_added_schedule_entry_does_not_overlap_others(
    tag: Tag, signed_in: Callable[..., Any]
) -> None:
    def steps(page: Page, base_url: str) -> None:
        page.goto(f"{base_url}edit/tag/{tag.pk}/")
        times = choose(page, "schedule", "set")
        for _ in range(2):
            times.get_by_text("Add entry").click()
        save(page)
        expect(page.locator("body")).to_contain_text("Saved as version 1.")

    signed_in(steps)
    week = [(len(entry["days"]), entry["on"]) for entry in layer(tag).document["schedule"]]
    assert week == [(5, "08:00"), (2, "08:00"), (2, "20:00")]


def test_an_invalid_value_is_kept_and_shown_with_its_error(
    tag: Tag, signed_in: Callable[..., Any]
) -> None:
    def steps(page: Page, base_url: str) -> None:
        page.goto(f"{base_url}edit/tag/{tag.pk}/")
        volume = choose(page, "volume", "set")
        volume.locator("input").fill("500")
        expect(volume).to_contain_text("Must be from 0 to 100.")
        save(page)
        expect(page.locator("#configuration-faults")).to_contain_text("volume")
        expect(line(page, "volume").locator("input")).to_have_value("500")
        expect(line(page, "volume")).to_contain_text("Must be from 0 to 100.")

    signed_in(steps)
    assert not DeviceConfiguration.every_tenant.filter(tag=tag).exists()


def test_both_tabs_edit_the_same_document(tag: Tag, signed_in: Callable[..., Any]) -> None:
    def steps(page: Page, base_url: str) -> None:
        page.goto(f"{base_url}edit/tag/{tag.pk}/")
        choose(page, "brightness", "set").locator("input").fill("9")
        page.click("#tab-raw")
        raw = page.locator("#configuration-document")
        expect(raw).to_have_value('{\n  "brightness": 9\n}')
        raw.fill('{"locale": "fr-FR"}')
        page.click("#tab-fields")
        expect(line(page, "locale").locator("input")).to_have_value("fr-FR")
        expect(line(page, "brightness").locator("input")).to_have_count(0)
        page.click("#tab-raw")
        raw.fill('{"locale": ')
        page.click("#tab-fields")
        expect(page.locator("#raw-fault")).to_contain_text("not a JSON object")
        expect(raw).to_be_visible()  # invalid JSON cannot be edited as fields
        expect(page.locator("#configuration-faults")).to_contain_text("Invalid JSON")

    signed_in(steps)


def test_a_version_is_compared_and_restored(tag: Tag, signed_in: Callable[..., Any]) -> None:
    now = datetime.now(UTC)
    for volume in (10, 20):
        save_for_tag(tag, {"volume": volume}, now=now)

    def steps(page: Page, base_url: str) -> None:
        page.goto(f"{base_url}edit/tag/{tag.pk}/")
        page.click("text=Compare or restore")
        expect(page.locator("table")).to_contain_text("Volume2010")
        expect(page.locator("body")).to_contain_text("2 of 2 devices would change.")
        page.click("text=Restore version 1")
        expect(page.locator("body")).to_contain_text("Restored version 1. It is now version 3.")

    signed_in(steps)
    assert layer(tag).document == {"volume": 10}


def test_a_conflict_keeps_the_users_document(tag: Tag, signed_in: Callable[..., Any]) -> None:
    save_for_tag(tag, {"volume": 10}, now=datetime.now(UTC))

    def steps(page: Page, base_url: str) -> None:
        address = f"{base_url}edit/tag/{tag.pk}/"
        page.goto(address)
        other = page.context.new_page()
        other.goto(address)
        line(other, "volume").locator("input").fill("20")
        save(other)
        expect(other.locator("body")).to_contain_text("Saved as version 2.")
        line(page, "volume").locator("input").fill("30")
        save(page)
        conflict = page.locator("#configuration-overtaken")
        expect(conflict).to_contain_text("Not saved: there is a newer version 2")
        expect(conflict.locator("tbody")).to_contain_text("Volume1020")
        expect(line(page, "volume").locator("input")).to_have_value("30")
        save(page)  # a second save must not overwrite either
        expect(conflict).to_contain_text("Not saved")
        page.locator("#configuration-note").press("Enter")
        page.wait_for_load_state()
        expect(conflict).to_contain_text("Not saved")
        page.click("text=Overwrite version 2 with your changes")
        expect(page.locator("body")).to_contain_text("Saved as version 3.")

    signed_in(steps)
    versions = ConfigurationVersion.every_tenant.filter(configuration=layer(tag))
    saved = versions.order_by("number").values_list("document", flat=True)
    assert list(saved) == [{"volume": 10}, {"volume": 20}, {"volume": 30}]


def test_a_viewer_sees_disabled_fields(tag: Tag, signed_in: Callable[..., Any]) -> None:
    save_for_tag(tag, {"volume": 10}, now=datetime.now(UTC))

    def steps(page: Page, base_url: str) -> None:
        page.goto(f"{base_url}edit/tag/{tag.pk}/")
        expect(line(page, "volume").locator("input")).to_be_disabled()
        expect(page.get_by_role("button", name="Save", exact=True)).to_have_count(0)

    signed_in(steps, role=Role.VIEWER)


def test_tags_can_be_reordered(tag: Tag, signed_in: Callable[..., Any]) -> None:
    now = datetime.now(UTC)
    save_for_tag(tag, {"volume": 1}, now=now)
    save_for_tag(TagFactory.create(tenant=tag.tenant, name="bar"), {"volume": 2}, now=now)

    def steps(page: Page, base_url: str) -> None:
        page.goto(base_url)
        expect(page.locator(".portal-layers")).to_contain_text("Tag lobby")
        page.get_by_label("Weaker: bar").click()
        expect(page.get_by_label("Stronger: bar")).to_be_visible()

    signed_in(steps)
    ranked = DeviceConfiguration.every_tenant.filter(scope="tag").order_by("rank")
    assert [str(row.tag) for row in ranked] == ["bar", "lobby"]


@pytest.mark.parametrize("width", [1440, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_pages_do_not_scroll_horizontally(
    tag: Tag, signed_in: Callable[..., Any], width: int, dark: bool
) -> None:
    save_for_tag(
        tag,
        {
            "schedule": [{"days": ["monday"], "on": "08:00", "off": "20:00"}],
            "launch": {"url": "https://signage.example.com/" + "very-long/" * 10},
            "extra": {"ticker": True},
        },
        now=datetime.now(UTC),
    )
    device = Device.every_tenant.filter(device_tags__tag=tag).first()
    assert device is not None

    def steps(page: Page, base_url: str) -> list[int]:
        widths = []
        for address in (
            base_url,
            f"{base_url}edit/tag/{tag.pk}/",
            f"{base_url}edit/device/{device.pk}/",
        ):
            page.goto(address)
            page.wait_for_timeout(300)
            widths.append(page.evaluate("document.documentElement.scrollWidth"))
        return widths

    assert max(signed_in(steps, width=width, dark=dark)) <= width
