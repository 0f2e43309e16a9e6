-- +goose Up

-- Deliveries of webhooks that were accepted (package webhooks): a redelivery keeps its id.
CREATE TABLE deliveries (
  forge       text NOT NULL,
  delivery    text NOT NULL,
  event       text NOT NULL,
  repository  text NOT NULL DEFAULT '',
  received_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (forge, delivery)
);
CREATE INDEX deliveries_received ON deliveries (received_at);
