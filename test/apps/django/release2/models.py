"""The second release: fields added, renamed, altered and removed, models made, renamed and removed."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower


class Category(models.Model):
    name = models.CharField(max_length=100, unique=True)
    slug = models.SlugField(max_length=120, unique=True)
    parent = models.ForeignKey("self", null=True, on_delete=models.SET_NULL)

    class Meta:
        verbose_name_plural = "categories"


class Label(models.Model):
    name = models.CharField(max_length=50, unique=True)
    colour = models.CharField(max_length=7, default="#000000")


class Product(models.Model):
    sku = models.CharField(max_length=32, unique=True)
    title = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=12, decimal_places=2)
    weight = models.FloatField(default=0.0)
    category = models.ForeignKey(Category, on_delete=models.PROTECT)
    tags = models.ManyToManyField(Label)
    attributes = models.JSONField(default=dict)
    photo = models.BinaryField(null=True)
    added = models.DateField(auto_now_add=True)
    active = models.BooleanField(default=True)

    class Meta:
        indexes = [
            models.Index(fields=["category", "price"], name="shop_by_price"),
            models.Index(Lower("title"), name="shop_by_title"),
        ]
        constraints = [models.CheckConstraint(condition=models.Q(price__gte=0), name="price_not_negative")]


class Customer(models.Model):
    full_name = models.CharField(max_length=100)
    email = models.EmailField(unique=True)
    phone = models.CharField(max_length=30, default="", blank=True)
    user = models.OneToOneField(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)


class Address(models.Model):
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE)
    street = models.CharField(max_length=200)
    current = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["customer"], condition=models.Q(current=True), name="one_current_address")
        ]


class Order(models.Model):
    reference = models.UUIDField(default=uuid.uuid4, unique=True)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE)
    placed = models.DateTimeField(auto_now_add=True)
    status = models.CharField(max_length=10, default="new", db_index=True)

    class Meta:
        ordering = ["-placed"]


class Line(models.Model):
    order = models.ForeignKey(Order, related_name="lines", on_delete=models.CASCADE)
    product = models.ForeignKey(Product, on_delete=models.PROTECT)
    quantity = models.PositiveIntegerField(default=1)
    cents = models.IntegerField(default=0)
    total = models.GeneratedField(
        expression=models.F("quantity") * models.F("cents"), output_field=models.IntegerField(), db_persist=True
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["order", "product"], name="once_an_order")]
