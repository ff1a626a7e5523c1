from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "release1"
    label = "shop"
