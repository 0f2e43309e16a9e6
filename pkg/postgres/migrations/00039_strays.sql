-- +goose Up

-- Where a delivery that nobody has finished may have put an object of an inventory beside its path there: another folder, if
-- the application has another name. The version before goes on without it: what it leaves behind is not noted.
CREATE TABLE strays (
  environment text   NOT NULL,
  key         text   NOT NULL,
  application bigint NOT NULL,
  unit        text   NOT NULL,
  path        text   NOT NULL,
  digest      text   NOT NULL,
  PRIMARY KEY (environment, application, path)
);
CREATE INDEX strays_folder ON strays (environment, split_part(path, '/', 1));
