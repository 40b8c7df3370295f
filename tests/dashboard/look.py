"""Looks at the dashboard of a running gateway with a real browser, as people do: eyes, keyboard, screen reader.

ADMIN is its admin listener, KEY its key, AXE the script of axe-core, IMAGES where pictures are put, CHROMIUM the
browser. It ends with the first promise that is broken.
"""

import copy
import json
import math
import os
import sys
import urllib.request

from playwright.sync_api import expect, sync_playwright

ADMIN = os.environ["ADMIN"]
KEY = os.environ["KEY"]
IMAGES = os.environ["IMAGES"]
AXE = open(os.environ["AXE"], encoding="utf-8").read()
HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
WATCH = """
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => violations.push(event.violatedDirective));
"""


def status():
    with urllib.request.urlopen(f"{ADMIN}/api/status", timeout=10) as answer:
        return json.load(answer)


class Tab:
    """A page of its own, with everything that it did and should not have."""

    def __init__(self, browser, **options):
        self.page = browser.new_page(**options)
        self.wrong = []
        self.page.on("console", lambda line: self.note(line.type in ("error", "warning"), line.text))
        self.page.on("pageerror", lambda error: self.note(True, str(error)))
        self.page.on("dialog", lambda dialog: (self.note(True, "a dialog"), dialog.dismiss()))
        self.page.on("request", lambda sent: self.note(not sent.url.startswith(f"{ADMIN}/"), sent.url))
        self.page.add_init_script(WATCH)

    def note(self, wrong, what):
        # What was refused or cut off on purpose is told by the browser, too.
        if wrong and not what.startswith("Failed to load resource"):
            self.wrong.append(what)

    def open(self, told=None):
        """The dashboard, of a gateway that says this, or of the real one."""
        if told:
            body = json.dumps(told)
            answer = {"content_type": "application/json", "body": body}
            self.page.route("**/api/status", lambda route: route.fulfill(**answer))
        response = self.page.goto(f"{ADMIN}/")
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none';") and "unsafe" not in policy, policy
        expect(self.page.locator("#facts")).to_contain_text("version")
        return self.page

    def close(self):
        assert self.page.evaluate("violations") == []
        assert self.wrong == [], self.wrong
        self.page.close()


def barriers(page, what):
    """WCAG 2.2 AA, as far as a machine can tell."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document)")["violations"]
    assert found == [], f"{what}: {json.dumps(found, indent=1)[:4000]}"


def numbers(browser):
    """It shows what the gateway says."""
    tab = Tab(browser)
    page, told = tab.open(), status()
    org = told["organisations"][0]
    expect(page.locator("#state")).to_have_text("Ready")
    budget = page.locator(".budget")
    expect(budget.locator(".big")).to_have_text(
        f"{org['budget']['used']} of {org['budget']['allowed']} calls in {org['budget']['window_s']} s"
    )
    used = f"Budget: {org['budget']['used']} of {org['budget']['allowed']} calls"
    assert page.get_by_role("img", name=used).count() == 1
    token = org["tokens"][0]
    ring = page.get_by_role("img", name=f"Token 0 of {token['client']}: ")
    assert f"generation {token['generation']}" in ring.get_attribute("aria-label")
    expect(page.locator(".about")).to_contain_text(token["fingerprint"])
    expect(page.locator(".queue .big")).to_contain_text(f"{org['queue']['waiting']} of at most")
    assert org["queue"]["waiting"] > 0
    waiting = [f"{who['name']}{who['waiting']}" for who in org["queue"]["callers"]]
    assert page.locator(".queue li").all_text_contents() == waiting
    # Who uses up the budget stands first.
    rows = page.locator(".callers tbody tr")
    expect(rows).to_have_count(len(org["callers"]))
    expect(rows.first.locator(".name")).to_have_text("billing")
    expect(rows.first.locator(".calls")).to_have_text(str(org["callers"][0]["calls"]))
    families = page.locator(".families tbody td.name").all_text_contents()
    assert families == [family["name"] for family in org["families"]]
    expect(page.locator("#errors tr")).to_have_count(len(told["errors"]))
    for error in told["errors"]:
        row = page.locator("#errors tr", has_text=error["request_id"])
        expect(row).to_contain_text(f"{error['method']} {error['path']}")
        if error.get("correlation_id"):
            expect(row).to_contain_text(error["correlation_id"])
    assert any(error.get("correlation_id") for error in told["errors"])
    tab.close()


def keyboard(browser):
    """Everything that can be done is reached by Tab, and said by name."""
    tab = Tab(browser)
    page = tab.open()
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        label = page.evaluate(
            "(() => { const at = document.activeElement; return at.getAttribute('aria-label') ?? at.labels?.[0]?.textContent })()"
        )
        if label in reached:
            break
        reached.append(label)
    for name in ("Admin key", "Renew token 0 of default", "Pause billing", "Pause reports"):
        assert name in reached, (name, reached)
    # A look that comes meanwhile does not take the focus away.
    button = page.get_by_role("button", name="Pause reports")
    button.focus()
    with page.expect_response("**/api/status"):
        pass
    expect(button).to_be_focused()
    tab.close()


def actions(browser):
    """Whoever has the key can hold a caller, and whoever has not is told so."""
    tab = Tab(browser)
    page = tab.open()
    said = page.locator("#said")
    page.get_by_role("button", name="Pause billing").press("Enter")
    expect(said).to_contain_text("Type the admin key first")
    expect(page.get_by_label("Admin key")).to_be_focused()
    page.keyboard.type("not-the-key-at-all")
    page.get_by_role("button", name="Pause billing").press("Enter")
    expect(said).to_have_text("That is not the admin key.")
    page.keyboard.type(KEY)
    page.get_by_role("button", name="Pause billing").press("Enter")
    expect(said).to_contain_text("Done: paused; of its calls")
    expect(page.locator(".callers tr.paused td.name")).to_have_text("billing")
    assert status()["organisations"][0]["paused"] == ["billing"]
    page.get_by_role("button", name="Resume billing").press("Enter")
    expect(said).to_contain_text("Done: resumed")
    expect(page.get_by_role("button", name="Pause billing")).to_be_visible()
    assert status()["organisations"][0]["paused"] == []
    generation = status()["organisations"][0]["tokens"][0]["generation"]
    page.get_by_role("button", name="Renew token 0 of default").click()
    expect(said).to_contain_text("Done: tokens that are being renewed: 1")
    expect(page.locator(".about")).to_contain_text(f"generation {generation + 1}")
    # It is kept nowhere.
    assert page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])") == '[{},{},""]'
    tab.close()


def gone(browser):
    """A gateway that does not answer is told so, and one that is back is shown."""
    tab = Tab(browser)
    page = tab.open()
    page.route("**/api/status", lambda route: route.abort("connectionrefused"))
    expect(page.locator("#state")).to_contain_text("No answer, last seen", timeout=15000)
    expect(page.locator("#said")).to_contain_text("The gateway: No answer")
    page.unroute("**/api/status")
    expect(page.locator("#state")).to_have_text("Ready", timeout=15000)
    tab.close()


def hostile(browser):
    """Names are text, whatever they are, and none breaks the page."""
    told = made_up()
    org = told["organisations"][0]
    org["callers"][0]["name"] = HOSTILE
    org["queue"]["callers"][0]["name"] = HOSTILE
    org["families"][0]["name"] = "/" + "x" * 300
    told["errors"][0].update(path=HOSTILE, caller=HOSTILE, correlation_id=HOSTILE, method="X" * 32)
    told["reasons"], told["ready"] = [HOSTILE], False
    other = copy.deepcopy(org)
    other["name"] = HOSTILE
    told["organisations"].append(other)
    tab = Tab(browser, viewport={"width": 360, "height": 740})
    page = tab.open(told)
    expect(page.locator(".callers td.name").first).to_have_text(HOSTILE)
    assert page.locator("img:not([role])").count() == 0
    fits(page)
    tab.close()


def fits(page):
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], width


def made_up():
    """A busy morning: what pictures show. Nothing of it is measured."""
    told = status()
    org = told["organisations"][0]
    end = 1_700_000_000
    samples = []
    for n in range(120):
        wave = 190 + 70 * math.sin(n / 13) + 18 * math.sin(n / 2.3)
        used = int(min(300, wave + (max(0, n - 70) * 3.1)))
        waits = int(max(0, n - 88) * 1.4) if used >= 300 else 0
        samples.append({"at": end - 5 * (119 - n), "used": used, "allowed": 300, "waiting": waits})
    org["history"] = samples
    org["budget"].update(limit=300, allowed=300, used=300, window_s=60)
    org["tokens"][0].update(expires_in_s=60_300, life_s=86_400, generation=7, client="crm-gateway", fingerprint="9f86d081884c")
    org["queue"] = {"waiting": 43, "max_queue": 1000, "others": 0}
    org["queue"]["callers"] = [{"name": n, "waiting": w} for n, w in (("billing", 38), ("reports", 4), ("wallboard", 1))]
    calls = lambda name, lately, total, bad: {"name": name, "last_minute": lately, "calls": total, "errors": bad}
    org["callers"] = [calls("billing", 231, 9120, 12), calls("reports", 41, 5210, 3),
                      calls("wallboard", 22, 31870, 0), calls("(unnamed)", 6, 240, 1)]
    org["families"] = [calls("/api/v2/conversations/*", 180, 7030, 9), calls("/api/v2/users/*/presences", 74, 20110, 2),
                       calls("/api/v2/analytics/conversations", 38, 4020, 5), calls("/api/v2/routing/queues", 8, 15280, 0)]
    org["paused"] = []
    org.update(in_flight=11, replicas=3)
    told.update(uptime_s=364_000, connections=58, ready=True, reasons=[], store={"state": "up"})
    error = lambda code, status, n: {
        "at": f"2026-01-12T09:{50 - n}:08.120Z", "caller": "billing", "method": "GET", "path": "/api/v2/conversations/*",
        "status": status, "request_id": f"0198f0{n}c-5b1e-7d2a-8f10-3c7a9b2e4d6{n}",
        "correlation_id": f"6f1c0f3e-2d{n}4-4b8a-9a57-1be0c2d4e8f{n}", **({"code": code} if code else {})}
    told["errors"] = [error("proxy.rate.limited", 429, 1), error(None, 500, 2), error(None, 429, 3)]
    return told


def pictures(browser):
    """What people see: in the light, in the dark, on a telephone."""
    looks = (("light", "light", 1280, 800), ("dark", "dark", 1280, 800), ("narrow", "light", 360, 740))
    for name, scheme, width, height in looks:
        tab = Tab(browser, viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce")
        page = tab.open(made_up())
        expect(page.locator(".callers tbody tr")).to_have_count(4)
        fits(page)
        barriers(page, name)
        page.screenshot(path=f"{IMAGES}/dashboard-{name}.png", full_page=True)
        tab.close()


def main():
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=os.environ["CHROMIUM"], args=["--no-sandbox"])
        for look in (numbers, keyboard, hostile, pictures, gone, actions):
            print(look.__name__, flush=True)
            look(browser)
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
