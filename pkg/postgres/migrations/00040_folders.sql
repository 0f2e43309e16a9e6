-- +goose Up

-- Whose objects lie in the folder of a name.
CREATE INDEX inventories_folder ON inventories (environment, split_part(path, '/', 1)) WHERE unit = 'application';
