"""Wagtail: one node makes the tree of pages, all nodes edit their own page, publish, and write redirects."""
import io
import os

from verbs import integrity, main

ROUNDS = 10
NODES = ("n0", "n1", "n2")


def opened(file):
    os.environ.update(SITE_DB=file, DJANGO_SETTINGS_MODULE="settings")
    import django

    django.setup()


def command(*words):
    from django.core.management import call_command

    said = io.StringIO()
    call_command(*words, stdout=said, verbosity=1)
    return said.getvalue()


def add(title):
    from pages.models import Article
    from wagtail.models import Page

    return Page.objects.get(depth=2).add_child(instance=Article(title=title, body="first"))


def migrate(file):
    opened(file)
    command("migrate", "--no-input")
    for name in NODES:
        add(f"Page of {name}")


def fill(file, who):
    opened(file)
    from django.contrib.auth.models import User
    from pages.models import Article
    from wagtail.contrib.redirects.models import Redirect

    round, name = who.rsplit("-", 1)
    editor = User.objects.create_user(who, f"{who}@example.com", "secret" * 3)
    page = Article.objects.get(title=f"Page of {name}")
    for n in range(ROUNDS):
        page.body = f"<p>{who} walks {n}</p>"
        page.save_revision(user=editor).publish()
        Redirect.objects.create(old_path=f"/{who}/{n}", redirect_page=page)
    page.save_revision(user=editor)  # a draft
    if name == "n0":
        add(f"Added {who}").move(page, pos="last-child")
    return {"kept": 2 * ROUNDS + 1}


def report(file):
    opened(file)
    from pages.models import Article
    from wagtail.contrib.redirects.models import Redirect
    from wagtail.models import ReferenceIndex, Revision

    pages = [[p.id, p.path, p.title, p.body, p.latest_revision_id, p.url_path] for p in Article.objects.order_by("path")]
    revisions = Revision.objects.filter(user__isnull=False).count()
    found = sorted(page.title for page in Article.objects.search("walks"))
    references = ReferenceIndex.objects.count()
    return {"kept": revisions + Redirect.objects.count(), "pages": pages, "found": found, "references": references}


def check(file):
    opened(file)
    from django.db import connection

    command("migrate", "--check")
    assert "No problems found" in command("fixtree")
    from wagtail.models import Page

    assert not any(Page.find_problems())
    connection.ensure_connection()
    integrity(connection.connection)


main(migrate=migrate, fill=fill, report=report, check=check)
