"""A user's own account: sessions, and a new password by mail or by command."""

import json
import re
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.test import Client

from accounts.tasks import send_password_reset
from core.limits import Rate
from devices.registry.tests.waiting import wait_until
from events.models import Event
from events.tests.mail_server import mail_server
from provisioning.portal.account_pages import browser_name
from tenants.models import Role, User
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
PASSWORD = "a-long-and-good-one"
DEVICES = "/admin/devices/device/"
RESET = "/admin/password-reset/"


@pytest.fixture
def user(tenant: Any) -> User:
    user = User.objects.create_user("owner@example.com", PASSWORD)
    MembershipFactory.create(tenant=tenant, user=user, role=Role.OWNER)
    return user


def sign_in(user: User, password: str = PASSWORD, browser: str = "Test") -> Client:
    client = Client(headers={"User-Agent": browser})
    client.post("/admin/login/", {"username": user.email, "password": password})
    client.get("/admin/")
    return client


def is_signed_in(client: Client) -> bool:
    return bool(client.get(DEVICES).status_code == 200)


def link_in(mail: str) -> str:
    match = re.search(r"/admin/password-reset/[\w-]+/[\w-]+/", mail.replace("=\r\n", ""))
    assert match is not None, mail
    return match[0]


def test_the_sessions_of_a_user_are_listed_and_can_be_signed_out(user: User) -> None:
    here, there = sign_in(user, browser="Firefox"), sign_in(user, browser="Chromium")
    page = here.get("/admin/sessions/").content.decode()
    assert page.count("(this session)") == 1
    match = re.search(r'name="which" value="([0-9a-f-]{36})"', page)
    assert match is not None
    assert "Chromium" in page

    here.post("/admin/sessions/", {"which": match[1]})

    assert is_signed_in(here)
    assert not is_signed_in(there)


def test_a_user_signs_out_all_other_sessions_or_everywhere(user: User) -> None:
    clients = [sign_in(user) for _ in range(3)]
    clients[0].post("/admin/sessions/", {"which": "others"})
    assert [is_signed_in(client) for client in clients] == [True, False, False]

    clients[0].post("/admin/sessions/", {"which": "all"})

    assert not is_signed_in(clients[0])
    assert Event.every_tenant.named("person.signed_out_everywhere").count() == 2


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/1 Safari/1", "Chrome on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/1 Safari/1 Edg/1", "Edge on Windows"),
        ("Mozilla/5.0 (Linux; Android 9) Gecko/1 Firefox/1", "Firefox on Android"),
        ("curl/8", "curl/8"),
        ("", "Unknown"),
    ],
)
def test_a_session_shows_the_browser_and_the_system(user_agent: str, name: str) -> None:
    assert browser_name(user_agent) == name


def test_nobody_signs_out_the_session_of_another_user(user: User) -> None:
    other = MembershipFactory.create().user
    stranger = Client()
    stranger.force_login(other)
    stranger.get("/admin/")
    own = sign_in(user)
    session = user.sessions.get()

    stranger.post("/admin/sessions/", {"which": str(session.pk)})

    assert is_signed_in(own)


def test_a_mailed_link_sets_a_new_password_and_signs_out_everywhere(user: User) -> None:
    User.objects.filter(pk=user.pk).update(address_proved=False)
    before = sign_in(user)
    with mail_server() as mailbox:
        send_password_reset(" Owner@Example.com ")
    link = link_in(mailbox.texts[0])
    client = Client()
    form = client.get(link)["Location"]  # the token is in the session now
    new = "another-long-and-good-one"

    client.post(form, {"new_password1": new, "new_password2": new})

    assert not is_signed_in(before)
    assert is_signed_in(sign_in(user, new))
    assert "not valid any more" in Client().get(link, follow=True).content.decode()
    user.refresh_from_db()
    assert user.address_proved
    assert Event.every_tenant.named("person.password_reset").count() == 1


def test_a_new_password_needs_the_current_one(user: User) -> None:
    client = sign_in(user)
    new = "another-long-and-good-one"
    fields = {"new_password1": new, "new_password2": new}

    client.post("/admin/password_change/", {**fields, "old_password": "a-wrong-one"})
    assert not is_signed_in(sign_in(user, new))
    client.post("/admin/password_change/", {**fields, "old_password": PASSWORD})
    assert is_signed_in(sign_in(user, new))


def test_asking_for_a_link_says_the_same_for_every_address(user: User, settings: Any) -> None:
    settings.EMAIL_HOST = "127.0.0.1"
    pages = []
    for email in (user.email, "nobody@example.com"):
        page = Client().post(RESET, {"email": email}).content.decode()
        pages.append(re.sub(r'value="\w{64}"', "", page))

    assert "a mail with a link is on its way" in pages[0]
    assert pages[0] == pages[1]


def test_requests_for_links_are_limited(user: User, settings: Any) -> None:
    settings.EMAIL_HOST = "127.0.0.1"
    settings.RATES = {**settings.RATES, "password_reset": Rate.parse("2/h")}
    client = Client(REMOTE_ADDR="203.0.113.77")

    pages = [client.post(RESET, {"email": user.email}).content.decode() for _ in range(3)]

    assert "Too many requests" in pages[2]


def test_without_a_mail_server_the_page_says_whom_to_ask() -> None:
    assert "Ask its operator" in Client().get(RESET).content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_real_worker_mails_the_link(tenant: Any, request: pytest.FixtureRequest) -> None:
    user = User.objects.create_user("owner@example.com", PASSWORD)
    MembershipFactory.create(tenant=tenant, user=user)

    with mail_server() as mailbox:
        request.getfixturevalue("celery_worker")
        send_password_reset.delay(user.email)
        wait_until(lambda: mailbox.texts)

    assert "To: owner@example.com" in mailbox.texts[0]


def test_the_operator_sets_a_password_that_must_be_changed(user: User, capsys: Any) -> None:
    before = sign_in(user)

    call_command("reset_password", user.email, as_json=True)

    result = json.loads(capsys.readouterr().out)
    assert not is_signed_in(before)
    client = sign_in(user, result["password"])
    assert client.get(DEVICES)["Location"] == "/admin/password_change/"


class TestTimeZone:
    PAGE = "/admin/account/"

    def page(self, client: Client, user: User) -> str:
        text: str = client.get("/admin/sessions/").content.decode()
        return text

    def test_times_are_shown_in_the_time_zone_that_the_user_has_chosen(self, user: User) -> None:
        client = sign_in(user)
        began = user.sessions.get().began_at

        response = client.post(self.PAGE, {"name": "Ada", "time_zone": "Asia/Tokyo"})

        assert response.status_code == 302
        tokyo = began.astimezone(ZoneInfo("Asia/Tokyo"))
        assert f"{tokyo:%Y-%m-%d %H:%M}" in self.page(client, user)
        user.refresh_from_db()
        assert (user.name, user.time_zone) == ("Ada", "Asia/Tokyo")

    def test_the_time_zone_of_the_browser_is_used_if_none_is_chosen(self, user: User) -> None:
        client = sign_in(user)
        client.cookies["time_zone"] = "America/New_York"

        began = user.sessions.get().began_at.astimezone(ZoneInfo("America/New_York"))
        assert f"{began:%Y-%m-%d %H:%M}" in self.page(client, user)

    @pytest.mark.parametrize("zone", ["Mars/One", "../etc/passwd"])
    def test_an_unknown_time_zone_is_refused_and_an_unknown_one_of_a_browser_is_ignored(
        self, user: User, zone: str
    ) -> None:
        client = sign_in(user)
        response = client.post(self.PAGE, {"name": "", "time_zone": zone})
        assert "There is no such time zone." in response.content.decode()

        client.cookies["time_zone"] = zone
        assert client.get("/admin/sessions/").status_code == 200
