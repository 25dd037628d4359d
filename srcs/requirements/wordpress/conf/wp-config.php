<?php
/**
 * The site's configuration. It lies above the document root, where WordPress also looks for it, and holds
 * no secret: passwords come from the compose secrets, the rest from the environment.
 */

function site_secret(string $name): string
{
    $secret = trim((string) file_get_contents("/run/secrets/$name"));
    return $secret !== '' ? $secret : throw new RuntimeException("the secret $name is empty or cannot be read");
}

define('DB_HOST', 'mariadb:' . getenv('DB_PORT'));
define('DB_NAME', getenv('DB_NAME'));
define('DB_USER', getenv('DB_USER'));
define('DB_PASSWORD', site_secret('db_password'));
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
$table_prefix = 'wp_';

// Eight independent keys from one secret.
foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as $scheme) {
    foreach (['KEY', 'SALT'] as $kind) {
        define("{$scheme}_{$kind}", hash_hmac('sha256', "{$scheme}_{$kind}", site_secret('wp_keys')));
    }
}

// The address is https://DOMAIN, with the port the visitor used: a virtual machine's host forwards another
// one. Requests by any other name are sent to DOMAIN.
$domain = getenv('DOMAIN');
$host = $_SERVER['HTTP_HOST'] ?? $domain;
$own = preg_match('/^' . preg_quote($domain, '/') . '(:\d{1,5})?$/iD', $host) === 1;
define('WP_HOME', 'https://' . ($own ? strtolower($host) : $domain));
define('WP_SITEURL', WP_HOME);

define('FORCE_SSL_ADMIN', true);
define('DISALLOW_FILE_EDIT', true);
// Releases come with a new image (make), not by themselves.
define('AUTOMATIC_UPDATER_DISABLED', true);
define('WP_AUTO_UPDATE_CORE', false);
define('WPMU_PLUGIN_DIR', '/usr/local/lib/site/mu-plugins');
// Whether the services of `make bonus` are there.
define('SITE_BONUS', getenv('BONUS') === 'on');
define('WP_REDIS_HOST', 'redis');

if (!defined('ABSPATH')) {
    define('ABSPATH', '/var/www/html/');
}
require_once ABSPATH . 'wp-settings.php';
