from django.urls import path

from events.api import documentation, views

urlpatterns = [
    path("channels", views.ChannelsView.as_view(), name="channels"),
    path("channels/event-names", views.EventNamesView.as_view(), name="event-names"),
    path("channels/<uuid:channel_id>", views.ChannelView.as_view(), name="channel"),
    path("channels/<uuid:channel_id>/test", views.TestView.as_view(), name="channel-test"),
    path(
        "channels/<uuid:channel_id>/rotate-secret",
        views.RotateSecretView.as_view(),
        name="channel-rotate-secret",
    ),
    path(
        "channels/<uuid:channel_id>/messages", views.MessagesView.as_view(), name="channel-messages"
    ),
    path(
        "channels/<uuid:channel_id>/messages/<slug:message_id>/replay",
        views.ReplayView.as_view(),
        name="message-replay",
    ),
    path("asyncapi", documentation.asyncapi, name="asyncapi"),
    path("docs/events", documentation.events_page, name="docs-events"),
]
