"""Orders with lines, as the second release makes them."""

import json
import time

from django.core.management.base import BaseCommand
from django.db import transaction

from release2.models import Address, Category, Customer, Label, Line, Order, Product


class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("who")
        parser.add_argument("rounds", type=int)

    def handle(self, *args, who, rounds, **options):
        with transaction.atomic():
            parent = Category.objects.create(name=f"All of {who}", slug=f"all-{who}")
            category = Category.objects.create(name=f"Some of {who}", slug=f"some-{who}", parent=parent)
            label = Label.objects.create(name=f"label of {who}", colour="#ff0000")
            product = Product.objects.create(
                sku=f"{who}!", title=f"LATE {who}", price=9_999_999_999.25, category=category, active=False
            )
            product.tags.add(label)
        for i in range(rounds):
            time.sleep(0.01)
            with transaction.atomic():
                customer = Customer.objects.create(full_name=f"{who} {i}", email=f"{i}@late.{who}", phone=str(i))
                first = Address.objects.create(customer=customer, street="first", current=True)
                order = Order.objects.create(customer=customer)
                Line.objects.create(order=order, product=product, quantity=2, cents=i)
            with transaction.atomic():
                Address.objects.filter(pk=first.pk).update(current=False)
                Address.objects.create(customer=customer, street="second", current=True)
            if i % 4 == 3:
                customer.delete()
        self.stdout.write(json.dumps({"kept": rounds - rounds // 4}))
