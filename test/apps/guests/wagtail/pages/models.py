"""One type of page."""
from django.db import models
from wagtail.fields import RichTextField
from wagtail.models import Page
from wagtail.search import index


class Article(Page):
    body = RichTextField(blank=True)
    read = models.IntegerField(default=0)
    search_fields = [*Page.search_fields, index.SearchField("body")]
