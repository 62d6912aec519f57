// What could break: a page with two owners by accident, a page lost, a page given back twice.
#include <set>

#include "engine/page_pool.h"
#include "support/check.h"

using namespace nvlm;
using namespace nvlm::test;

int main() {
  run("every page is handed out once, and not more than there are", [] {
    PagePool pool(10);
    auto a = pool.take(4), b = pool.take(6);
    if (!check(a && b, "all pages")) return;
    std::set<int32_t> seen(a->begin(), a->end());
    seen.insert(b->begin(), b->end());
    test::equal(seen.size(), size_t{10}, "different pages");
    check(*seen.begin() == 0 && *seen.rbegin() == 9, "in range");
    check(!pool.take(1), "none is left");
    test::equal(pool.available(), 0, "available");
    check(pool.take(0).has_value(), "none was asked for");
    pool.give_back(*a);
    test::equal(pool.available(), 4, "given back");
    check(a->empty(), "the list is emptied");
    check(!pool.take(5), "a request that does not fit takes nothing");
    test::equal(pool.available(), 4, "still there");
  });

  run("a shared page is free when its last owner is gone", [] {
    PagePool pool(3);
    auto pages = *pool.take(2);
    auto twin = pages;
    pool.share(twin);
    pool.give_back(pages);
    test::equal(pool.available(), 1, "still owned");
    pool.give_back(twin);
    test::equal(pool.available(), 3, "free");
  });

  run("giving back twice and sharing a free page are refused", [] {
    PagePool pool(2);
    auto pages = *pool.take(1);
    auto copy = pages;
    pool.give_back(pages);
    throws("internal", {"given back twice"}, [&] { pool.give_back(copy); });
    throws("internal", {"shared"}, [&] { pool.share(copy); });
  });

  run("a pool of no pages answers", [] {
    PagePool pool(0);
    check(!pool.take(1), "nothing to take");
    test::equal(pool.total(), 0, "total");
  });
  return summary();
}
