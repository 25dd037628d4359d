<?php
/**
 * The first start: an empty database becomes a site with an administrator and an author.
 */
declare(strict_types=1);

namespace Site;

/**
 * Installs WordPress with its own functions. What its own earlier, killed attempt left is dropped first.
 */
function install(string $site, \mysqli $database): void
{
    begin($database);
    load_wordpress($site);
    create_site();
    create_author();
    set_options();
    $database->query('DROP TABLE ' . UNFINISHED);
    say('the site is installed: ' . WP_HOME);
}

/** Leaves a database with nothing in it but the mark of an installation under way; not one that others filled. */
function begin(\mysqli $database): void
{
    $tables = tables($database);
    if ($tables !== [] && !in_array(UNFINISHED, $tables, true)) {
        throw new \RuntimeException('the database ' . getenv('DB_NAME') . ' holds tables but not a site that is complete '
            . '(there is no wp_options): restore a backup, or empty the database, or name another DB_NAME');
    }
    foreach ($tables as $table) {
        if ($table !== UNFINISHED) {
            $database->query("DROP TABLE `$table`");
        }
    }
    $database->query('CREATE TABLE IF NOT EXISTS ' . UNFINISHED . ' (started TIMESTAMP)');
}

function load_wordpress(string $site): void
{
    define('WP_INSTALLING', true);
    $_SERVER += ['HTTP_HOST' => getenv('DOMAIN'), 'REQUEST_URI' => '/', 'SERVER_PROTOCOL' => 'HTTP/1.1'];
    require_once "$site/wp-load.php";
    require_once ABSPATH . 'wp-admin/includes/upgrade.php';
    // Nothing on the network is there to be asked yet, least of all the site itself.
    add_filter('pre_http_request', static fn () => new \WP_Error('installing', 'not while installing'));
    add_filter('pre_wp_mail', '__return_false');
}

function create_site(): void
{
    $made = wp_install(
        getenv('SITE_TITLE'),
        getenv('WP_ADMIN_USER'),
        getenv('WP_ADMIN_EMAIL'),
        true,
        '',
        wp_slash(site_secret('wp_admin_password')),
    );
    if (is_wp_error($made['user_id'] ?? null)) {
        throw new \RuntimeException($made['user_id']->get_error_message());
    }
}

function create_author(): void
{
    $made = wp_insert_user([
        'user_login' => getenv('WP_AUTHOR_USER'),
        'user_email' => getenv('WP_AUTHOR_EMAIL'),
        'user_pass' => wp_slash(site_secret('wp_author_password')),
        'role' => 'author',
    ]);
    if (is_wp_error($made)) {
        throw new \RuntimeException('making the author: ' . $made->get_error_message());
    }
}

function set_options(): void
{
    global $wp_rewrite;
    update_option('blogdescription', getenv('SITE_TAGLINE'));
    update_option('timezone_string', 'UTC');
    // Comments appear at once, with or without an earlier one that was approved.
    update_option('comment_previously_approved', 0);
    update_option('comment_moderation', 0);
    // They would come from another site, which would learn who comments here.
    update_option('show_avatars', 0);
    $wp_rewrite->set_permalink_structure('/%postname%/');
    flush_rewrite_rules();
}
