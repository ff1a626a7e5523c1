"""No page is served."""
urlpatterns = []
