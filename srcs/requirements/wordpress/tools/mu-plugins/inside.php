<?php
/**
 * Plugin Name: Inside
 * Description: Lets the site call itself from within its container.
 */

/*
 * The scheduler runs by a request of the site to itself. The port that a visitor used may exist on the
 * host alone; inside the network nginx has the site's name, and said with the
 * request that is being served where it listens.
 */
add_filter('cron_request', static function (array $request): array {
    $key = $request['key'];
    $port = $_SERVER['SERVER_PORT'] ?? 443;
    $request['url'] = 'https://' . getenv('DOMAIN') . ":$port/wp-cron.php?doing_wp_cron=$key";
    return $request;
});
