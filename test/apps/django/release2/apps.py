from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "release2"
    label = "shop"
