"""What a person does on the pages, in Chromium, against a running server."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import NODES, Server, log_in, opens_and_fits

pytestmark = pytest.mark.browser

ANNEALED_MS = 30_000
EVERY_PAGE = (
    "/",
    "/nodes",
    "/deployments",
    "/annealer",
    "/noderoles",
    "/runs",
    "/roles",
    "/barclamps",
    "/barclamps/rehearsal",
    "/events",
    "/audit",
    "/users",
    "/api/docs",
)

BROKEN = """links => links.flatMap(link => [...link.childNodes]).filter(part => {
  const range = document.createRange();
  range.selectNodeContents(part);
  return new Set([...range.getClientRects()].map(line => line.top)).size > 1;
}).map(part => part.textContent)"""
"""Of links with names of nodes, those parts between dots that are not on one line."""


def cell(page: Page, node: str, role: str) -> Locator:
    """The cell of the board's grid that belongs to a node and a role."""
    row = page.locator("#board tbody tr").filter(has=page.locator(f'[data-name="{node}"]'))
    return row.locator(f'td[data-role="{role}"]')


def bind_by_form(page: Page, node: str, role: str) -> None:
    form = page.locator("section").filter(has=page.get_by_role("heading", name="Bind a role to a node"))
    form.get_by_label("Node", exact=True).fill(node)
    form.get_by_label("Role").select_option(role)
    form.get_by_role("button", name="Bind").click()
    expect(page.locator(".flash")).to_contain_text("proposed")
    page.wait_for_load_state()  # what is seen first can be read; keys are listened to when the script has run


def test_nobody_sees_a_page_before_logging_in(server: Server, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto("/annealer")
    expect(page).to_have_url(re.compile(r"/login\?next=/annealer"))
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(server.password)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{server.url}/annealer")
    page.get_by_role("button", name="Log out").click()
    page.goto("/")
    expect(page).to_have_url(re.compile("/login"))


def test_log_in_never_leads_to_another_site(server: Server, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto("/login?next=//example.com/")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(server.password)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{server.url}/")


def test_every_page_opens_and_fits_a_narrow_screen(page: Page) -> None:
    for width in (400, 1280):
        for path in EVERY_PAGE:
            opens_and_fits(page, path, width)


def test_no_word_of_the_column_of_actions_is_broken_in_two(server: Server, page: Page) -> None:
    deployment_id = server.make_nodes("audited")
    server.ask("PATCH", f"nodes/audited-{NODES[0]}", {"description": "takes room " * 20})
    server.ask("PUT", f"deployments/{deployment_id}/commit")
    for width in (390, 1280):
        opens_and_fits(page, "/audit", width)
        expect(page.get_by_role("columnheader").nth(3)).to_have_text("What")
        lines = dict(
            page.locator("tbody tr > :nth-child(4)").evaluate_all(
                "cells => cells.map(cell => { const all = document.createRange(); all.selectNodeContents(cell);"
                " return [cell.innerText, new Set([...all.getClientRects()].map(one => one.top)).size]; })"
            )
        )
        assert {"deployment.create", "deployment.commit", "node.change"} <= lines.keys()
        assert {action for action, count in lines.items() if count != 1} == set(), width


def test_every_page_is_useful_without_javascript(server: Server, open_page: Callable[..., Page]) -> None:
    page = open_page(java_script_enabled=False)
    log_in(page, server)
    deployment_id = server.make_nodes("plain")
    page.goto(f"/deployments/{deployment_id}")
    bind_by_form(page, f"plain-{NODES[0]}", "stage")
    expect(cell(page, f"plain-{NODES[0]}", "stage")).to_contain_text("proposed")
    page.get_by_role("button", name=f"Bind stage to plain-{NODES[1]}").click()
    expect(cell(page, f"plain-{NODES[1]}", "stage")).to_contain_text("proposed")


def test_a_node_dragged_onto_a_role_is_bound_planned_committed_and_annealed(server: Server, page: Page) -> None:
    deployment_id = server.make_nodes("drag")
    (server.room / "trapdoor").unlink(missing_ok=True)
    anna, berta = f"drag-{NODES[0]}", f"drag-{NODES[1]}"
    page.goto(f"/deployments/{deployment_id}")

    # Onto a role that is not in the deployment yet, then onto the head of a column.
    page.locator(f'[data-name="{anna}"]').drag_to(page.locator(".palette li").filter(has_text="bow"))
    expect(page.locator(".flash")).to_contain_text("It drew in 2 more that it needs")
    for role in ("stage", "walk", "bow"):
        expect(cell(page, anna, role)).to_contain_text("proposed")
    page.locator(f'[data-name="{berta}"]').drag_to(page.locator("thead th").filter(has_text="walk"))
    expect(cell(page, berta, "walk")).to_contain_text("proposed")

    page.get_by_role("link", name="Plan").click()
    expect(page.locator("#summary")).to_contain_text("4 run")  # berta needs no stage of her own: one is enough
    steps = page.locator("#steps .folded > li").all_inner_texts()
    assert [text.split()[1] for text in steps] == ["stage", "walk", "bow"]
    page.locator("#steps summary").filter(has_text="walk").click()
    expect(page.locator("#steps")).to_contain_text(berta)
    page.get_by_role("button", name="Commit this plan").click()
    expect(page.locator(".flash")).to_contain_text("Committed")

    # No reload from here on: the page itself has to notice.
    for node, role in ((anna, "stage"), (anna, "walk"), (anna, "bow"), (berta, "walk")):
        expect(cell(page, node, role)).to_contain_text("active", timeout=ANNEALED_MS)
    expect(page.locator(".verdict")).to_contain_text("active", timeout=ANNEALED_MS)


def test_a_plan_that_no_longer_holds_is_refused_with_the_way_out(server: Server, page: Page) -> None:
    deployment_id = server.make_nodes("stale")
    page.goto(f"/deployments/{deployment_id}")
    bind_by_form(page, f"stale-{NODES[0]}", "stage")
    page.get_by_role("link", name="Plan").click()
    roles = {role["name"]: role["id"] for role in server.ask("GET", "roles")}
    nodes = {node["name"]: node["id"] for node in server.ask("GET", "nodes")}
    server.ask("POST", "node_roles", {"node_id": nodes[f"stale-{NODES[1]}"], "role_id": roles["stage"]})
    page.get_by_role("button", name="Commit this plan").click()
    expect(page.locator(".flash.refused")).to_be_visible()
    expect(cell(page, f"stale-{NODES[0]}", "stage")).to_contain_text("proposed")


def test_arrow_keys_and_enter_bind_a_role(server: Server, page: Page) -> None:
    deployment_id = server.make_nodes("keys")
    page.goto(f"/deployments/{deployment_id}")
    bind_by_form(page, f"keys-{NODES[0]}", "stage")
    cell(page, f"keys-{NODES[0]}", "stage").locator("a").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(cell(page, f"keys-{NODES[1]}", "stage")).to_contain_text("proposed")


def test_an_error_is_explained_and_retried(server: Server, page: Page) -> None:
    deployment_id = server.make_nodes("fall")
    (server.room / "trapdoor").touch()
    page.goto(f"/deployments/{deployment_id}")
    bind_by_form(page, f"fall-{NODES[0]}", "bow")
    page.get_by_role("button", name=re.compile("^Commit")).click()
    expect(cell(page, f"fall-{NODES[0]}", "walk")).to_contain_text("error", timeout=ANNEALED_MS)
    expect(cell(page, f"fall-{NODES[0]}", "bow")).to_contain_text("blocked")

    page.goto("/")
    failed = page.locator("section").filter(has=page.get_by_role("heading", name="What failed")).locator("li")
    failed = failed.filter(has_text=f"fall-{NODES[0]}")
    expect(failed).to_contain_text("The actor fell through the trapdoor")
    expect(failed).to_contain_text("the floor gave way")

    page.goto(f"/deployments/{deployment_id}")
    cell(page, f"fall-{NODES[0]}", "walk").get_by_role("link", name="error").click()
    expect(page.locator("#blocks")).to_contain_text("bow")
    expect(page.locator("li.telling")).to_contain_text("the floor gave way")

    (server.room / "trapdoor").unlink()
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".verdict")).to_contain_text("active", timeout=ANNEALED_MS)
    page.goto(f"/deployments/{deployment_id}")
    expect(cell(page, f"fall-{NODES[0]}", "bow")).to_contain_text("active", timeout=ANNEALED_MS)


def test_retry_all_clears_every_error(server: Server, page: Page) -> None:
    deployment_id = server.make_nodes("all")
    (server.room / "trapdoor").touch()
    page.goto(f"/deployments/{deployment_id}")
    for node in NODES[:2]:
        bind_by_form(page, f"all-{node}", "walk")
    page.get_by_role("button", name=re.compile("^Commit")).click()
    for node in NODES[:2]:
        expect(cell(page, f"all-{node}", "walk")).to_contain_text("error", timeout=ANNEALED_MS)
    (server.room / "trapdoor").unlink()
    page.goto("/annealer")
    page.get_by_role("button", name="Retry all").click()
    expect(page.locator("#failed")).to_have_count(0, timeout=ANNEALED_MS)


def test_a_log_grows_while_it_is_read_and_what_a_node_says_stays_text(server: Server, page: Page) -> None:
    deployment_id = server.make_nodes("log")
    (server.room / "curtain").unlink(missing_ok=True)
    page.goto(f"/deployments/{deployment_id}")
    bind_by_form(page, f"log-{NODES[0]}", "play")
    page.get_by_role("button", name=re.compile("^Commit")).click()
    expect(cell(page, f"log-{NODES[0]}", "play")).to_contain_text("transition", timeout=ANNEALED_MS)
    cell(page, f"log-{NODES[0]}", "play").get_by_role("link").first.click()
    page.get_by_role("link", name="All of it, live").click()

    lines = page.locator("#log li .text")
    expect(lines.filter(has_text=re.compile("line 20 of the play"))).to_have_count(1, timeout=ANNEALED_MS)
    told = [text for text in lines.all_inner_texts() if text.startswith("line ")]
    assert told == [f"line {number} of the play" for number in range(1, len(told) + 1)]
    hostile = lines.filter(has_text="stolen").first
    expect(hostile).to_have_text("<script>document.title='stolen'</script>red")
    assert "stolen" not in page.title()

    (server.room / "curtain").touch()
    expect(page.locator(".verdict")).to_contain_text("succeeded", timeout=ANNEALED_MS)


def test_a_run_is_cancelled_and_its_noderole_held_and_released(server: Server, page: Page) -> None:
    deployment_id = server.make_nodes("stop")
    (server.room / "curtain").unlink(missing_ok=True)
    page.goto(f"/deployments/{deployment_id}")
    bind_by_form(page, f"stop-{NODES[0]}", "play")
    page.get_by_role("button", name=re.compile("^Commit")).click()
    play = cell(page, f"stop-{NODES[0]}", "play")
    expect(play).to_contain_text("transition", timeout=ANNEALED_MS)
    play.get_by_role("link").first.click()
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator(".verdict")).to_contain_text("held", timeout=ANNEALED_MS)
    expect(page.locator(".verdict")).to_contain_text("todo", timeout=ANNEALED_MS)
    (server.room / "curtain").touch()
    page.get_by_role("button", name="Release").click()
    expect(page.locator(".verdict")).to_contain_text("active", timeout=ANNEALED_MS)


def test_an_attribute_is_set_and_says_where_it_comes_from(server: Server, page: Page) -> None:
    deployment_id = server.make_nodes("data")
    page.goto(f"/deployments/{deployment_id}")
    bind_by_form(page, f"data-{NODES[0]}", "play")
    cell(page, f"data-{NODES[0]}", "play").get_by_role("link").first.click()
    page.get_by_role("link", name="play-title").click()
    expect(page.locator("tr").filter(has_text="counts")).to_contain_text("Hamlet")
    page.get_by_label("Value").fill("Macbeth")
    page.get_by_role("button", name="Set now", exact=True).click()
    expect(page.locator("tr").filter(has_text="counts")).to_contain_text("Macbeth")
    expect(page.locator("tr").filter(has_text="counts")).to_contain_text("admin")
    page.get_by_label("Value").fill("[1, 2")
    page.get_by_role("button", name="Set now", exact=True).click()
    expect(page.locator(".flash.refused")).to_contain_text("is not JSON")
    page.get_by_role("button", name="Unset now").click()
    expect(page.locator("tr").filter(has_text="counts")).to_contain_text("Hamlet")


@pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without"])
def test_a_value_is_drafted_planned_and_committed_from_its_page_and_from_the_board(
    server: Server, open_page: Callable[..., Page], script: bool
) -> None:
    stage = f"draft{'' if script else '-plain'}"
    deployment_id = server.make_nodes(stage)
    node = f"{stage}-{NODES[0]}"
    (server.room / "curtain").touch()
    server.ask("POST", "node_roles", {"node_id": node, "role_id": "play", "deployment_id": deployment_id})
    server.ask("PUT", f"deployments/{deployment_id}/commit")
    page = open_page(java_script_enabled=script, viewport={"width": 400, "height": 800})
    log_in(page, server)
    page.goto(f"/deployments/{deployment_id}")
    expect(page.locator("#board")).to_contain_text("active", timeout=ANNEALED_MS)
    form = page.locator("section").filter(has=page.get_by_role("heading", name="Set a value for the whole"))
    form.get_by_label("Attribute").select_option("play-title")
    form.get_by_label("Value").fill("Macbeth")
    form.get_by_role("button", name="Plan").click()
    expect(page.locator("#values")).to_contain_text("Macbeth")
    expect(page.locator("#steps")).to_contain_text("run again")
    page.wait_for_load_state()  # its style sheet may be still to come
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "too wide"
    page.get_by_role("link", name="Leave it").click()
    expect(page.locator("#drafts")).to_have_count(0)
    form.get_by_label("Attribute").select_option("play-title")
    form.get_by_label("Value").fill("Macbeth")
    form.get_by_role("button", name="Set as draft", exact=True).click()
    expect(page.locator("#drafts tbody tr")).to_contain_text(f"play in {stage}")
    expect(page.locator("#drafts tbody tr")).to_contain_text("Macbeth")
    page.wait_for_load_state()  # its style sheet may be still to come
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "too wide"
    page.get_by_role("button", name="Discard all").click()
    expect(page.locator("#drafts")).to_have_count(0)

    play = server.ask("GET", f"node_roles?node={node}&role=play")[0]["id"]
    page.goto(f"/noderoles/{play}/attribs/play-title")
    page.get_by_label("Value").fill("Othello")
    page.get_by_role("button", name="Set as draft", exact=True).click()
    expect(page.locator("#drafts")).to_contain_text("Othello")
    page.locator("#drafts").get_by_role("button", name="Plan").click()
    expect(page.locator("#values tbody tr")).to_contain_text("Othello")
    page.get_by_role("button", name="Commit", exact=True).click()
    expect(page.locator(".flash.ok")).to_contain_text("1 value is committed")
    expect(page.locator("#drafts")).to_have_count(0)


def test_unbinding_and_moving_are_planned_where_one_does_them(server: Server, page: Page) -> None:
    deployment_id, other = server.make_nodes("from"), server.make_nodes("towards")
    node = f"from-{NODES[0]}"
    bound = server.ask("POST", "node_roles", {"node_id": node, "role_id": "stage", "deployment_id": deployment_id})[
        "id"
    ]
    server.ask("PUT", f"deployments/{deployment_id}/commit")
    page.goto(f"/ask/node_roles/{bound}/unbind")
    page.get_by_role("button", name="Plan").click()
    expect(page.locator("#summary .lossbox")).to_contain_text(f"stage on {node}")
    page.get_by_role("link", name="Leave it").click()
    expect(page.locator("h1")).to_have_text("stage")
    page.goto(f"/deployments/{other}")
    form = page.locator("section").filter(has=page.get_by_role("heading", name="Nodes of this deployment"))
    form.get_by_label("Move a node here").fill(node)
    form.get_by_role("button", name="Plan").click()
    expect(page.locator("#summary")).to_contain_text("Nothing")
    page.get_by_role("button", name="Move").click()
    expect(page.locator(".flash.ok")).to_contain_text("is in this deployment now")


def test_nodes_are_found_and_only_deleted_with_their_name_typed(server: Server, page: Page) -> None:
    server.make_nodes("find")
    page.goto("/nodes")
    page.get_by_label("Name (web-*) or description").fill(f"find-{NODES[1]}")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name=f"find-{NODES[1]}").click()
    for typed, said in (("something.else.entirely", "Nothing was done"), (f"find-{NODES[1]}", "gone")):
        if page.get_by_role("link", name="Destroy…").count():
            page.get_by_role("link", name="Destroy…").click()
        page.get_by_label(re.compile("to confirm")).fill(typed)
        page.get_by_role("button", name="Destroy").click()
        expect(page.locator(".flash")).to_contain_text(said)


def test_noderoles_are_found_by_node_and_by_role(server: Server, page: Page) -> None:
    deployment_id = server.make_nodes("search")
    for node in NODES:
        for role in ("stage", "walk"):
            server.ask(
                "POST", "node_roles", {"node_id": f"search-{node}", "role_id": role, "deployment_id": deployment_id}
            )
    lines = page.locator("#live tbody tr")
    page.goto("/noderoles")
    page.get_by_label("Node (web-*)").fill("search-*")
    page.get_by_label("Role").select_option("walk")
    page.get_by_label("State").select_option("proposed")
    page.get_by_role("button", name="Show").click()
    expect(lines).to_have_count(len(NODES))
    for node in NODES:
        expect(lines.filter(has_text=f"search-{node}")).to_have_count(1)
    expect(page.get_by_label("Role")).to_have_value("walk")
    page.get_by_label("Node (web-*)").fill(f"search-{NODES[0].partition('.')[0]}")
    page.get_by_label("Node (web-*)").press("Enter")
    expect(lines).to_have_count(1)
    expect(lines).to_contain_text(f"search-{NODES[0]}")
    page.get_by_label("Node (web-*)").fill("nobody")
    page.get_by_label("Node (web-*)").press("Enter")
    expect(page.locator("#live")).to_contain_text("No noderole is like that.")
    for width in (390, 1280):
        opens_and_fits(page, "/noderoles?node=search-*&role=walk&state=proposed", width)
        assert page.eval_on_selector_all("td.name a", BROKEN) == [], "a name goes on in the next line within a word"
    page.get_by_role("link", name="search-").first.wait_for()


@pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without"])
def test_nothing_is_powered_off_or_destroyed_by_clicks_alone(
    server: Server, open_page: Callable[..., Page], script: bool
) -> None:
    stage = f"lever{'' if script else '-plain'}"
    deployment_id = server.make_nodes(stage)
    node = f"{stage}-{NODES[0]}"
    server.ask("POST", "hammers", {"node_id": node, "name": "lever"})
    server.ask("POST", "node_roles", {"node_id": node, "role_id": "stage", "deployment_id": deployment_id})
    server.ask("POST", "node_roles", {"node_id": node, "role_id": "walk", "deployment_id": deployment_id})
    server.ask("PUT", f"deployments/{deployment_id}/commit")
    lever = server.room / "lever"
    lever.unlink(missing_ok=True)
    page = open_page(java_script_enabled=script, viewport={"width": 400, "height": 800})
    log_in(page, server)
    page.goto(f"/nodes/{node}")
    page.get_by_role("link", name="off…").click()
    expect(page.locator(".loss")).to_contain_text("stops at once")
    expect(page.locator(".loss li").filter(has_text=f"walk on {node}")).to_be_visible()
    page.wait_for_load_state()  # its style sheet may be still to come
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "too wide"
    if script:  # else the browser itself does not send a form that lacks the name
        page.get_by_role("button", name="Power off").click()
        expect(page.get_by_label(re.compile("to confirm"))).to_be_focused()
    page.get_by_label(re.compile("to confirm")).fill(stage)
    page.get_by_role("button", name="Power off").click()
    expect(page.locator(".flash.refused")).to_contain_text("Nothing was done")
    assert not lever.exists()
    page.get_by_label(re.compile("to confirm")).fill(node)
    page.get_by_role("button", name="Power off").click()
    expect(page.locator(".flash.ok")).to_contain_text("the lever was pulled: off")
    assert lever.read_text() == "off\n"
    page.get_by_role("button", name="status").click()
    expect(page.locator(".flash.ok")).to_contain_text("status")


def test_a_commit_that_destroys_asks_for_the_name_on_the_board_and_beside_the_plan(server: Server, page: Page) -> None:
    deployment_id = server.make_nodes("strike")
    page.goto(f"/deployments/{deployment_id}")
    bind_by_form(page, f"strike-{NODES[0]}", "strike")
    page.get_by_role("button", name=re.compile("^Commit")).click()
    expect(page.locator(".loss")).to_contain_text(f"strike on strike-{NODES[0]}")
    page.get_by_role("link", name="Leave it").click()
    expect(cell(page, f"strike-{NODES[0]}", "strike")).to_contain_text("proposed")
    page.get_by_role("link", name="Plan").click()
    expect(page.locator("#summary .lossbox")).to_contain_text(f"strike on strike-{NODES[0]}")
    page.get_by_label(re.compile("to confirm")).fill("strike")
    page.get_by_role("button", name="Commit this plan").click()
    expect(cell(page, f"strike-{NODES[0]}", "strike")).to_contain_text("active", timeout=ANNEALED_MS)


def test_a_viewer_sees_everything_and_is_offered_nothing(server: Server, open_page: Callable[..., Page]) -> None:
    deployment_id = server.make_nodes("view")
    server.ask("POST", "users", {"name": "vera", "role": "viewer", "password": "a long enough secret 17"})
    page = open_page()
    page.goto("/login")
    page.get_by_label("Name").fill("vera")
    page.get_by_label("Password").fill("a long enough secret 17")
    page.get_by_role("button", name="Log in").click()
    page.goto(f"/deployments/{deployment_id}")
    expect(page.get_by_role("button", name=re.compile("Commit|Bind|Move|Delete"))).to_have_count(0)
    expect(page.locator("[data-drop], [draggable=true]")).to_have_count(0)


def test_barclamps_pages_are_in_the_navigation(page: Page) -> None:
    page.get_by_role("navigation").get_by_role("link", name="Playbill").click()
    expect(page.locator("h1")).to_have_text("rehearsal")
    expect(page.get_by_role("link", name="walk")).to_be_visible()
