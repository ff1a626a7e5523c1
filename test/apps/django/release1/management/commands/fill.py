"""Orders with lines, as a web worker makes them: each in a transaction, some changed and some deleted later."""

import json
import time

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db import transaction

from release1.models import Category, Customer, Line, Note, Order, Product, Tag


class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("who")
        parser.add_argument("rounds", type=int)

    def handle(self, *args, who, rounds, **options):
        with transaction.atomic():
            user = User.objects.create(username=who, password="!")
            category = Category.objects.create(name=f"Things of {who}")
            tags = [Tag.objects.create(name=f"{who} {word}") for word in ("old", "new")]
            products = [
                Product.objects.create(
                    sku=f"{who}-{i}",
                    title=f"Thing {i} of {who}",
                    price=i * 100 + 0.25,
                    weight=[None, -0.0, 1.0, 2.5][i],
                    category=category,
                    attributes={"who": who, "sizes": [1, 2.0, None]},
                    photo=bytes(range(i * 60)),
                )
                for i in range(4)
            ]
            for product in products:
                product.tags.set(tags)
        for i in range(rounds):
            time.sleep(0.01)
            with transaction.atomic():
                customer = Customer.objects.create(name=f"{who} {i}", email=f"{i}@{who}", user=user if i == 0 else None)
                order = Order.objects.create(customer=customer, legacy_code=f"{who}/{i}")
                Line.objects.bulk_create(
                    [Line(order=order, product=p, quantity=i + 1) for p in products[: 1 + i % 4]]
                )
                Note.objects.create(order=order, text=f"{who} {i}")
            if i % 3 == 1:
                Order.objects.filter(pk=order.pk).update(status="sent")
            if i % 4 == 3:
                products[0].tags.remove(tags[0])
                products[0].tags.add(tags[0])
                customer.delete()
        self.stdout.write(json.dumps({"kept": rounds - rounds // 4}))
