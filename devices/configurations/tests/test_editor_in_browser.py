"""The configuration editor in a real browser: fields, JSON, preview, save, restore."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from devices.configurations.models import ConfigurationVersion, DeviceConfiguration
from devices.configurations.tests.documents import for_tag, for_tenant, wear
from devices.registry.models import Device, Tag
from devices.registry.tests.factories import DeviceFactory, TagFactory
from provisioning.tests.browser import MARKS, InBrowser, in_browser, sign_in
from tenants.models import Role, User
from tenants.tests.factories import MembershipFactory, TenantFactory

__all__ = ["in_browser"]  # a fixture
pytestmark = [pytest.mark.django_db(transaction=True), *MARKS]

Editor = Callable[[Callable[[Page], Any]], Any]
PASSWORD = "correct horse battery"


@pytest.fixture
def tag() -> Tag:
    """Of two devices; a third has no tag. The tenant says that they are loud."""
    now = datetime.now(UTC)
    tenant = TenantFactory.create()
    made: Tag = TagFactory.create(tenant=tenant, name="lobby")
    for device in DeviceFactory.create_batch(3, tenant=tenant)[:2]:
        wear(device, made)
    for_tenant(tenant, {"volume": 80, "time_zone": "Europe/Berlin"}, now=now)
    return made


@pytest.fixture
def signed_in(tag: Tag, live_server: Any, in_browser: InBrowser) -> Callable[..., Any]:
    """Steps of a member, who is in the portal already."""

    def run(
        steps: Callable[[Page, str], Any], role: Role = Role.OPERATOR, **look: Any
    ) -> Any:
        user = User.objects.create_user(f"{role}@example.com", PASSWORD)
        MembershipFactory.create(tenant=tag.tenant, user=user, role=role)

        def all_steps(page: Page) -> Any:
            sign_in(page, live_server.url, user.email, PASSWORD)
            return steps(
                page, f"{live_server.url}/admin/configurations/deviceconfiguration/"
            )

        return in_browser(all_steps, **look)

    return run


def line(page: Page, key: str) -> Any:
    return page.locator(f"[data-key={key}]")


def say(page: Page, key: str, state: str) -> Any:
    """Choose who says a key; its line."""
    found = line(page, key)
    found.locator("select").first.select_option(state)
    return found


def save(page: Page) -> None:
    page.get_by_role("button", name="Save", exact=True).click()


def layer(tag: Tag) -> DeviceConfiguration:
    found: DeviceConfiguration = DeviceConfiguration.every_tenant.get(tag=tag)
    return found


def test_a_layer_is_made_from_fields_previewed_and_saved(
    tag: Tag, signed_in: Callable[..., Any]
) -> None:
    def steps(page: Page, where: str) -> None:
        page.goto(where)
        page.click("text=lobby")
        expect(line(page, "volume")).to_contain_text("80 (All devices)")
        say(page, "volume", "set").locator("input").fill("15")
        launch = say(page, "launch", "set")
        launch.locator("input").fill("https://signage.example.com/lobby")
        impact = page.locator("#configuration-impact")
        expect(impact).to_contain_text(
            "2 of 2 devices change: Volume on 2, Launch on 2"
        )
        page.fill("#configuration-note", "Quiet, please")
        save(page)
        expect(page.locator("body")).to_contain_text("Saved as version 1.")

    signed_in(steps)
    version = ConfigurationVersion.every_tenant.get(configuration=layer(tag))
    assert version.document == {
        "volume": 15,
        "launch": {"url": "https://signage.example.com/lobby"},
    }
    assert (version.note, version.author_name) == (
        "Quiet, please",
        "operator@example.com",
    )


def test_every_key_has_a_field_that_writes_what_the_schema_wants(
    tag: Tag, signed_in: Callable[..., Any]
) -> None:
    def steps(page: Page, where: str) -> None:
        page.goto(f"{where}edit/tag/{tag.pk}/")
        say(page, "orientation", "set").locator("select").nth(1).select_option(
            "portrait"
        )
        size = say(page, "resolution", "set").locator("input")
        size.nth(0).fill("1080")
        size.nth(1).fill("1920")
        say(page, "brightness", "set").locator("input").fill("200")
        say(page, "volume", "device")
        say(page, "time_zone", "set").locator("input").fill("Asia/Tokyo")
        say(page, "locale", "set").locator("input").fill("ja-JP")
        times = say(page, "schedule", "set")
        times.get_by_label("Sat").check()
        times.get_by_label("On", exact=True).fill("22:00")
        times.get_by_label("Off", exact=True).fill("02:00")
        launch = say(page, "launch", "set")
        launch.locator("select").nth(1).select_option("app")
        launch.locator("input").fill("com.example.player")
        extra = say(page, "extra", "set")
        extra.get_by_text("Add a key").click()
        extra.get_by_label("Name of the key").fill("ticker")
        extra.get_by_placeholder("value, or JSON").fill("[1, true]")
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
                "days": [
                    *("monday", "tuesday", "wednesday", "thursday", "friday"),
                    "saturday",
                ],
                "on": "22:00",
                "off": "02:00",
            }
        ],
        "launch": {"app": "com.example.player"},
        "extra": {"ticker": [1, True]},
    }


def test_only_the_extra_keys_that_are_given_here_are_said_here(
    tag: Tag, signed_in: Callable[..., Any]
) -> None:
    for_tenant(tag.tenant, {"extra": {"ticker": True}}, now=datetime.now(UTC))

    def steps(page: Page, where: str) -> None:
        page.goto(f"{where}edit/tag/{tag.pk}/")
        extra = say(page, "extra", "set")
        expect(extra).to_contain_text("Inherited beside them: ticker = true")
        extra.get_by_text("Add a key").click()
        extra.get_by_label("Name of the key").fill("build")
        extra.get_by_placeholder("value, or JSON").fill("2.10")
        save(page)
        expect(page.locator("body")).to_contain_text("Saved as version 1.")

    signed_in(steps)
    assert layer(tag).document == {"extra": {"build": "2.10"}}


def test_a_time_that_is_added_overlaps_no_other(
    tag: Tag, signed_in: Callable[..., Any]
) -> None:
    def steps(page: Page, where: str) -> None:
        page.goto(f"{where}edit/tag/{tag.pk}/")
        times = say(page, "schedule", "set")
        for _ in range(2):
            times.get_by_text("Add a time").click()
        save(page)
        expect(page.locator("body")).to_contain_text("Saved as version 1.")

    signed_in(steps)
    week = [(len(one["days"]), one["on"]) for one in layer(tag).document["schedule"]]
    assert week == [(5, "08:00"), (2, "08:00"), (2, "20:00")]


def test_what_is_wrong_stands_beside_its_field_and_is_not_lost(
    tag: Tag, signed_in: Callable[..., Any]
) -> None:
    def steps(page: Page, where: str) -> None:
        page.goto(f"{where}edit/tag/{tag.pk}/")
        volume = say(page, "volume", "set")
        volume.locator("input").fill("500")
        expect(volume).to_contain_text("From 0 to 100.")
        save(page)
        expect(page.locator("#configuration-faults")).to_contain_text("volume")
        expect(line(page, "volume").locator("input")).to_have_value("500")
        expect(line(page, "volume")).to_contain_text("From 0 to 100.")

    signed_in(steps)
    assert not DeviceConfiguration.every_tenant.filter(tag=tag).exists()


def test_the_two_tabs_say_the_same(tag: Tag, signed_in: Callable[..., Any]) -> None:
    def steps(page: Page, where: str) -> None:
        page.goto(f"{where}edit/tag/{tag.pk}/")
        say(page, "brightness", "set").locator("input").fill("9")
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
        expect(page.locator("#raw-fault")).to_contain_text("no JSON object")
        expect(raw).to_be_visible()  # what is no JSON has no fields
        expect(page.locator("#configuration-faults")).to_contain_text("no JSON")

    signed_in(steps)


def test_a_version_is_compared_and_restored(
    tag: Tag, signed_in: Callable[..., Any]
) -> None:
    now = datetime.now(UTC)
    for volume in (10, 20):
        for_tag(tag, {"volume": volume}, now=now)

    def steps(page: Page, where: str) -> None:
        page.goto(f"{where}edit/tag/{tag.pk}/")
        page.click("text=Compare or restore")
        expect(page.locator("table")).to_contain_text("Volume2010")
        expect(page.locator("body")).to_contain_text("2 of 2 devices would change.")
        page.click("text=Restore version 1")
        expect(page.locator("body")).to_contain_text("Version 1 is back, as version 3.")

    signed_in(steps)
    assert layer(tag).document == {"volume": 10}


def test_who_was_overtaken_is_told_and_loses_nothing(
    tag: Tag, signed_in: Callable[..., Any]
) -> None:
    for_tag(tag, {"volume": 10}, now=datetime.now(UTC))

    def steps(page: Page, where: str) -> None:
        address = f"{where}edit/tag/{tag.pk}/"
        page.goto(address)
        other = page.context.new_page()
        other.goto(address)
        line(other, "volume").locator("input").fill("20")
        save(other)
        expect(other.locator("body")).to_contain_text("Saved as version 2.")
        line(page, "volume").locator("input").fill("30")
        save(page)
        told = page.locator("#configuration-overtaken")
        expect(told).to_contain_text("Not saved: version 2 is there now")
        expect(told.locator("tbody")).to_contain_text("Volume1020")
        expect(line(page, "volume").locator("input")).to_have_value("30")
        save(page)  # again, without saying that it goes over theirs
        expect(told).to_contain_text("Not saved")
        page.locator("#configuration-note").press("Enter")
        page.wait_for_load_state()
        expect(told).to_contain_text("Not saved")
        page.click("text=Save mine over version 2")
        expect(page.locator("body")).to_contain_text("Saved as version 3.")

    signed_in(steps)
    versions = ConfigurationVersion.every_tenant.filter(configuration=layer(tag))
    saved = versions.order_by("number").values_list("document", flat=True)
    assert list(saved) == [{"volume": 10}, {"volume": 20}, {"volume": 30}]


def test_a_viewer_looks_and_changes_nothing(
    tag: Tag, signed_in: Callable[..., Any]
) -> None:
    for_tag(tag, {"volume": 10}, now=datetime.now(UTC))

    def steps(page: Page, where: str) -> None:
        page.goto(f"{where}edit/tag/{tag.pk}/")
        expect(line(page, "volume").locator("input")).to_be_disabled()
        expect(page.get_by_role("button", name="Save", exact=True)).to_have_count(0)

    signed_in(steps, role=Role.VIEWER)


def test_tags_are_put_in_order(tag: Tag, signed_in: Callable[..., Any]) -> None:
    now = datetime.now(UTC)
    for_tag(tag, {"volume": 1}, now=now)
    for_tag(TagFactory.create(tenant=tag.tenant, name="bar"), {"volume": 2}, now=now)

    def steps(page: Page, where: str) -> None:
        page.goto(where)
        expect(page.locator(".portal-layers")).to_contain_text("Tag lobby")
        page.get_by_label("Weaker: bar").click()
        expect(page.get_by_label("Stronger: bar")).to_be_visible()

    signed_in(steps)
    ranked = DeviceConfiguration.every_tenant.filter(scope="tag").order_by("rank")
    assert [str(found.tag) for found in ranked] == ["bar", "lobby"]


@pytest.mark.parametrize("width", [1440, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_sticks_out_of_the_page(
    tag: Tag, signed_in: Callable[..., Any], width: int, dark: bool
) -> None:
    for_tag(
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

    def steps(page: Page, where: str) -> list[int]:
        widths = []
        for address in (
            where,
            f"{where}edit/tag/{tag.pk}/",
            f"{where}edit/device/{device.pk}/",
        ):
            page.goto(address)
            page.wait_for_timeout(300)
            widths.append(page.evaluate("document.documentElement.scrollWidth"))
        return widths

    assert max(signed_in(steps, width=width, dark=dark)) <= width
