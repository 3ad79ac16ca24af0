#!/usr/bin/env python3
"""Drives Chromium over the status page and fails at the first thing that is wrong.

    browser.py ADDRESS TOKEN REFUSED_CLIENT AXE_JS SCREENSHOTS

ADDRESS is that of a running sixgate whose page needs TOKEN, and which has refused
REFUSED_CLIENT for lack of reverse DNS. AXE_JS is axe.min.js of axe-core. Pictures go to
the folder SCREENSHOTS. Decisions may arrive while this runs.
"""

import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

ADDRESS, TOKEN, REFUSED, AXE, SCREENSHOTS = sys.argv[1:]
BASE = f"http://{ADDRESS}"
TIMEOUT = 30
WIDTHS = {390: 844, 1280: 900}
SCHEMES = ("light", "dark")
PAGES = ("/", "/decisions", "/check", "/opt-in", "/opt-in?domain=contoso.com", "/replies", "/nothing")

requests = []
console = []


def start(scripts=True):
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                     "--no-first-run", "--disable-component-update", "--disable-background-networking"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    if not scripts:
        options.add_experimental_option(
            "prefs", {"profile.managed_default_content_settings.javascript": 2})
    service = webdriver.ChromeService(executable_path="/usr/bin/chromedriver")
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_page_load_timeout(TIMEOUT)
    return driver


def collect(driver):
    """Takes what the browser has logged since the last call."""
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            requests.append(message["params"]["request"]["url"])
    console.extend(entry for entry in driver.get_log("browser"))


def check(condition, what, driver=None):
    if not condition:
        text = driver.find_element(By.TAG_NAME, "body").text[:2000] if driver else ""
        sys.exit(f"browser.py: {what}\n{driver.current_url if driver else ''}\n{text}")


def wait(driver, condition, what):
    try:
        # The page may be replaced while it is looked at.
        ignored = [NoSuchElementException, StaleElementReferenceException]
        WebDriverWait(driver, TIMEOUT, ignored_exceptions=ignored).until(condition)
    except Exception as error:  # the text of selenium's says less than the page
        check(False, f"{what}: {error}", driver)


def h1(driver):
    return driver.find_element(By.TAG_NAME, "h1").text


def one(driver, selector):
    return driver.find_element(By.CSS_SELECTOR, selector)


def log_in(driver, token):
    one(driver, "#token").send_keys(token, Keys.ENTER)


def logs_in(driver):
    driver.get(f"{BASE}/decisions?rule=no-ptr")
    check(urlsplit(driver.current_url).path == "/login", "the page is shown without login", driver)
    check(driver.switch_to.active_element.get_attribute("id") == "token", "the field has no focus", driver)
    log_in(driver, "wrong-token-wrong-token")
    wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, "[role=alert]"), "no error for a wrong token")
    check(not driver.get_cookies(), "a wrong token makes a session", driver)
    log_in(driver, TOKEN)
    wait(driver, lambda d: h1(d) == "Decisions", "the login does not lead on")
    check(driver.current_url.endswith("/decisions?rule=no-ptr"), "the login leads elsewhere", driver)
    cookie = driver.get_cookies()[0]
    check(cookie["httpOnly"] and cookie["sameSite"] == "Strict" and TOKEN not in cookie["value"],
          f"the cookie: {cookie}")


def follows_a_refusal(driver):
    driver.get(f"{BASE}/decisions")
    Select(one(driver, "#rule")).select_by_value("no-ptr")
    one(driver, "#client").send_keys(REFUSED)
    one(driver, "form[role=search] button").click()
    wait(driver, lambda d: "rule=no-ptr" in d.current_url, "the filter is not sent")
    rows = driver.find_elements(By.CSS_SELECTOR, "tbody tr")
    check(rows and all("no-ptr" in row.text and REFUSED in row.text for row in rows),
          "the filter does not filter", driver)
    rows[0].find_element(By.TAG_NAME, "a").click()
    wait(driver, lambda d: "/decisions/" in d.current_url, "no details")
    text = one(driver, "main").text
    check("must have reverse DNS" in text, "the reply is missing", driver)
    check("PTR" in text, "what the sender should do is missing", driver)
    one(driver, "main a[href^='/replies']").click()
    wait(driver, lambda d: urlsplit(d.current_url).path == "/replies", "no explanation")
    check("4.7.25" in one(driver, "main").text, "the explanation is missing", driver)


def checks_a_sender(driver):
    driver.get(f"{BASE}/check")
    one(driver, "#client").send_keys(REFUSED)
    one(driver, "#from").send_keys("a@good.example")
    one(driver, "#to").send_keys("b@contoso.com")
    one(driver, "main form button").click()
    wait(driver, lambda d: d.find_elements(By.ID, "verdict"), "no verdict")
    check("no-ptr" in one(driver, "main").text, "another verdict", driver)
    one(driver, "main a[href^='/api/v1/explain']").click()
    wait(driver, lambda d: "/api/v1/explain" in d.current_url, "the link to JSON does not work")
    check("no-ptr" in driver.page_source, "another verdict as JSON", driver)


def reloads(driver):
    """While decisions arrive the page stays whole."""
    newest = 0
    for _ in range(20):
        driver.get(f"{BASE}/decisions")
        link = one(driver, "tbody a").get_attribute("href")
        number = int(link.rsplit("/", 1)[1])
        check(number >= newest, "the newest decision is not the first", driver)
        newest = number
        driver.get(BASE + "/")
        check(h1(driver) == "Overview", "no overview", driver)


def by_keyboard(driver):
    """Goes from the overview to a filtered list without a mouse."""
    driver.get(BASE + "/")
    body = driver.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    focus = driver.switch_to.active_element
    check(focus.get_attribute("class") == "skip", "the first stop is not the skip link", driver)
    check(focus.rect["x"] >= 0, "the skip link is not visible with the focus", driver)
    for _ in range(30):
        focus = driver.switch_to.active_element
        style = focus.value_of_css_property("outline-style")
        check(style not in ("none", ""), f"no outline around {focus.text!r}", driver)
        if focus.text == "Decisions":
            break
        focus.send_keys(Keys.TAB)
    check(focus.text == "Decisions", "Decisions is not reached by Tab", driver)
    focus.send_keys(Keys.ENTER)
    wait(driver, lambda d: h1(d) == "Decisions", "Enter does not follow the link")
    for _ in range(30):
        focus = driver.switch_to.active_element
        if focus.get_attribute("id") == "queue_id":
            break
        (focus if focus.tag_name != "body" else driver.find_element(By.TAG_NAME, "body")).send_keys(Keys.TAB)
    check(focus.get_attribute("id") == "queue_id", "the filter is not reached by Tab", driver)
    focus.send_keys("NOSUCHID", Keys.ENTER)
    wait(driver, lambda d: "queue_id=NOSUCHID" in d.current_url, "Enter does not send the filter")
    check("No decision" in one(driver, "main").text, "an empty list says nothing", driver)


def emulate(driver, width, scheme):
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": WIDTHS[width], "deviceScaleFactor": 1, "mobile": width < 600})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
        "features": [{"name": "prefers-color-scheme", "value": scheme}]})


def is_accessible(driver, pages, axe):
    total = 0
    found = []
    for width in WIDTHS:
        for scheme in SCHEMES:
            emulate(driver, width, scheme)
            for page in pages:
                driver.get(BASE + page)
                driver.execute_script(axe)
                result = driver.execute_async_script(
                    "axe.run(document).then(arguments[0], e => arguments[0]({error: String(e)}))")
                violations = result.get("violations", result)
                seen = [f"{v['id']}: {n['html']}: {n['failureSummary']}"
                        for v in violations for n in v["nodes"]]
                found.extend(f"{page}, {width} px, {scheme}: {text}" for text in seen)
                total += len(result["passes"])
                wide, window = driver.execute_script(
                    "return [document.documentElement.scrollWidth, innerWidth]")
                if wide > window:
                    found.append(f"{page} is {wide} px wide in a window of {window} px")
    check(not found, "accessibility:\n" + "\n".join(found))
    print(f"axe-core: {len(pages)} pages, {len(WIDTHS)} widths, {len(SCHEMES)} colour schemes: "
          f"0 violations, {total} rules passed")


def pictures(driver, pages):
    for width in WIDTHS:
        for scheme in SCHEMES:
            emulate(driver, width, scheme)
            for name, page in pages.items():
                driver.get(BASE + page)
                driver.save_screenshot(str(Path(SCREENSHOTS, f"status-{name}-{scheme}-{width}.png")))


def without_scripts():
    driver = start(scripts=False)
    try:
        driver.get(BASE + "/")
        log_in(driver, TOKEN)
        wait(driver, lambda d: h1(d) == "Overview", "no login without scripts")
        follows_a_refusal(driver)
        checks_a_sender(driver)
        driver.get(BASE + "/")
        one(driver, "form.logout button").click()
        wait(driver, lambda d: urlsplit(d.current_url).path == "/login", "no logout")
        collect(driver)
    finally:
        driver.quit()


def main():
    axe = Path(AXE).read_text()
    driver = start()
    try:
        driver.get(f"{BASE}/login")
        is_accessible(driver, ["/login"], axe)
        pictures(driver, {"login": "/login"})
        logs_in(driver)
        collect(driver)
        follows_a_refusal(driver)
        detail = None
        checks_a_sender(driver)
        reloads(driver)
        by_keyboard(driver)
        driver.get(f"{BASE}/decisions?rule=no-ptr")
        detail = urlsplit(one(driver, "tbody a").get_attribute("href")).path
        is_accessible(driver, [*PAGES, detail], axe)
        pictures(driver, {"overview": "/", "decisions": "/decisions", "decision": detail,
                          "check": "/check"})
        collect(driver)
    finally:
        driver.quit()
    without_scripts()

    elsewhere = {url for url in requests
                 if not url.startswith((BASE + "/", "data:", "chrome:", "about:"))}
    check(requests and not elsewhere, f"requests to other origins: {elsewhere}")
    # Chromium logs each status from 400 on. These two are what was asked for.
    expected = (f"{BASE}/login - Failed to load resource: the server responded with a status of 401",
                f"{BASE}/nothing - Failed to load resource: the server responded with a status of 404")
    # It looks for this one beside JSON.
    expected += (f"{BASE}/favicon.ico - Failed to load resource: the server responded with a status of 404",)
    errors = [entry["message"] for entry in console if not entry["message"].startswith(expected)]
    check(not errors, "the console: " + "\n".join(errors))
    print(f"{len(requests)} requests, none to another origin; nothing unexpected on the console")


main()
