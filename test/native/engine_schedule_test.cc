// What runs when, over a model without arithmetic (support/fake_model.h). What could break: rows of one sequence that
// read another's pages, chunks at page and row limits, images that are encoded or projected twice or freed too early,
// requests that wait for ever. How requests end is engine_end_test's.
#include <thread>
#include <vector>

#include "support/fake_rig.h"
#include "support/families.h"

using namespace nvlm;
using namespace nvlm::test;

int main() {
  run("prompts of every length around pages and steps say the same alone and together", [] {
    const std::vector<int> lengths = {1, 2, 63, 64, 65, 127, 128, 129, 255, 256, 257, 300, 511, 512, 513};
    std::vector<Outcome> expected;
    for (const int length : lengths) expected.push_back(alone(kNvlmD, text_request(length, 70, length)));
    for (const int step_rows : {256, 1024, 7}) {
      Setup holding;
      holding.hold_load = true;  // so that all are there when the first begins
      holding.step_rows = step_rows;
      Rig rig(holding);
      std::vector<uint64_t> ids;
      for (const int length : lengths) ids.push_back(rig.engine->submit(text_request(length, 70, length)));
      rig.control->hold_load = false;
      const std::string what = ", " + std::to_string(step_rows) + " rows a step";
      for (size_t i = 0; i < ids.size(); ++i) {
        const Outcome outcome = rig.log.wait(ids[i]);
        same(outcome, expected[i], "length " + std::to_string(lengths[i]) + what);
        test::equal(outcome.generated, 70, "tokens" + what);
        ended(outcome, "length", "finish" + what);
      }
      check(rig.control->most_sequences == 4, "four ran at once, no more" + what);
      test::equal(rig.control->most_rows.load(), step_rows, "most rows of a step");
    }
  });

  for (const Family family : {kNvlmD, kNvlmX}) {
    const std::string name = family == kNvlmD ? "D" : "X";
    run("several prompts with images say the same alone and together, " + name, [&] {
      std::vector<Request> requests;
      for (int i = 0; i < 6; ++i) requests.push_back(image_request(family, 1 + i % 3, 1 + i % 2, i + 1, 30));
      add_image(requests[2], family, picture(2, 1, 91), 3);  // two images
      add_image(requests[2], family, picture(1, 1, 92), 1);
      requests.push_back(text_request(40, 30));
      std::vector<Outcome> expected;
      for (const Request& request : requests) expected.push_back(alone(family, request));
      for (size_t i = 0; i + 1 < expected.size(); ++i)
        check(expected[i].ids != expected[i + 1].ids, "images and text matter");
      Rig rig({family});
      std::vector<uint64_t> ids;
      for (const Request& request : requests) ids.push_back(rig.engine->submit(request));
      for (size_t i = 0; i < ids.size(); ++i) {
        const Outcome outcome = rig.log.wait(ids[i]);
        same(outcome, expected[i], "request " + std::to_string(i));
        test::equal(outcome.pixels_free, i < 6 ? 1 : 0, "pixels are let go once");
      }
      test::equal(rig.control->images_alive.load(), 0, "all image tokens are freed");
      test::equal(rig.engine->stats().active_requests, 0, "nothing is active");
    });

    run("two pictures with the same text give different first tokens, " + name, [&] {
      Request first = image_request(family, 2, 1, 1, 3), second = first;
      second.images[0] = picture(2, 1, 2);
      check(alone(family, first).ids.at(0) != alone(family, second).ids.at(0), "the image is seen");
    });

    run("an encoded image is encoded once, " + name + ", and says what its pixels say", [&] {
      const Outcome expected = alone(family, image_request(family, 2, 2, 9, 20));
      Rig rig({family});
      const Outcome encoded = rig.log.wait(rig.engine->encode(picture(2, 2, 9), {}));
      ended(encoded, "encoded", "encode");
      test::equal(encoded.tiles, 5, "tiles");
      test::equal(encoded.bytes, uint64_t{5 * 16 * 4}, "bytes");
      test::equal(encoded.pixels_free, 1, "pixels");
      Request request = image_request(family, 2, 2, 9, 20);
      request.images[0] = {};
      request.images[0].handle = encoded.handle;
      for (int i = 0; i < 3; ++i) same(rig.log.wait(rig.engine->submit(request)), expected, "by handle");
      test::equal(rig.engine->stats().encoded_tiles, uint64_t{5}, "tiles were encoded once");
      test::equal(rig.engine->stats().cross_projections, uint64_t{family == kNvlmX ? 1u : 0u},
                  "keys and values were projected once");
      test::equal(rig.engine->stats().images, 1, "one image is kept");

      const uint64_t last = rig.engine->submit(request);
      rig.engine->release(encoded.handle);
      same(rig.log.wait(last), expected, "a request that came before the release");
      ended(rig.log.wait(rig.engine->submit(request)), "closed", "one that came after");
      test::equal(rig.control->images_alive.load(), 0, "the tokens are freed");
      test::equal(rig.engine->stats().images, 0, "none is kept");
    });
  }

  run("an image's tokens are freed once the prompt is read, while the answer goes on", [] {
    Rig rig;
    rig.control->hold_from_step = 1;  // the first step reads the whole prompt
    const uint64_t id = rig.engine->submit(image_request(kNvlmD, 2, 2, 3, 10));
    check(eventually([&] { return rig.control->inside > 0; }), "the second step is held");
    test::equal(rig.control->images_alive.load(), 0, "the tokens are freed");
    rig.control->hold_step = false;
    same(rig.log.wait(id), alone(kNvlmD, image_request(kNvlmD, 2, 2, 3, 10)), "the answer");
  });

  run("cross pages of idle images make room, least recently used first", [] {
    Rig rig({kNvlmX});  // 8 pages; each image of 2x2 tiles needs 2 (80 tokens)
    std::vector<Request> requests;
    std::vector<Outcome> expected;
    for (int i = 0; i < 5; ++i) {
      requests.push_back(image_request(kNvlmX, 2, 2, 20 + i, 5));
      expected.push_back(alone(kNvlmX, requests.back()));
      const ImageInput pixels = requests.back().images[0];
      requests.back().images[0] = {};
      requests.back().images[0].handle = rig.log.wait(rig.engine->encode(pixels, {})).handle;
    }
    const auto ask = [&](int i) {
      same(rig.log.wait(rig.engine->submit(requests[static_cast<size_t>(i)])), expected[static_cast<size_t>(i)],
           "image " + std::to_string(i));
    };
    for (int i = 0; i < 4; ++i) ask(i);
    ask(0);  // used again: 1 is the oldest now
    test::equal(rig.engine->stats().cross_projections, uint64_t{4}, "all four fit");
    ask(4);  // takes the pages of 1
    ask(0);
    test::equal(rig.engine->stats().cross_projections, uint64_t{5}, "0 was kept");
    ask(1);
    test::equal(rig.engine->stats().cross_projections, uint64_t{6}, "1 was not");
    test::equal(rig.engine->stats().encoded_tiles, uint64_t{25}, "nothing was encoded again");
  });

  run("the same image twice in a prompt is projected once", [] {
    Request twice = image_request(kNvlmX, 2, 1, 4, 10);
    add_image(twice, kNvlmX, picture(2, 1, 4), 3);
    const Outcome expected = alone(kNvlmX, twice);
    Rig rig({kNvlmX});
    const uint64_t handle = rig.log.wait(rig.engine->encode(picture(2, 1, 4), {})).handle;
    for (ImageInput& image : twice.images) {
      image = {};
      image.handle = handle;
    }
    same(rig.log.wait(rig.engine->submit(twice)), expected, "twice");
    test::equal(rig.engine->stats().cross_projections, uint64_t{1}, "projections");
  });

  run("requests that need more than there is wait for each other, and all finish", [] {
    Setup tight;
    tight.family = kNvlmX;
    Rig rig(tight);
    std::vector<uint64_t> ids;
    std::vector<Outcome> expected;
    for (int i = 0; i < 12; ++i) {
      const Request request = image_request(kNvlmX, 3, 2, 50 + i, 40);  // 2 pages each; 4 sequences take all 8
      if (i < 2) expected.push_back(alone(kNvlmX, request));
      ids.push_back(rig.engine->submit(request));
    }
    for (size_t i = 0; i < ids.size(); ++i) {
      const Outcome outcome = rig.log.wait(ids[i]);
      ended(outcome, "length", "finish");
      if (i < expected.size()) same(outcome, expected[i], "same");
    }
  });

  run("what can never fit fails at once, with numbers", [] {
    Setup small;
    small.family = kNvlmX;
    small.context = 100;
    small.max_images = 2;
    Rig rig(small);
    const Outcome too_long = rig.log.wait(rig.engine->submit(text_request(100, 4)));
    ended(too_long, "prompt-too-long", "prompt");
    check(too_long.message.find("100") != std::string::npos, too_long.message);
    ended(rig.log.wait(rig.engine->submit(text_request(99, 50))), "length", "room for one token");
    test::equal(rig.log.now(2).generated, 1, "tokens that fitted");
    Request many = text_request(3, 4);
    for (int i = 0; i < 3; ++i) add_image(many, kNvlmX, picture(1, 1, i), 1);
    const Outcome too_many = rig.log.wait(rig.engine->submit(many));
    ended(too_many, "too-many-images", "images");
    check(too_many.message.find("3 images") != std::string::npos, too_many.message);
    FakeModel::cross_pages = 1;
    Rig one_page(small);
    const Outcome pages = one_page.log.wait(one_page.engine->submit(image_request(kNvlmX, 2, 2, 1, 4)));
    FakeModel::cross_pages = 8;
    ended(pages, "too-many-images", "pages");
    Request bad = text_request(3, 4);
    bad.prompt.ids[1] = FakeModel::kVocab;
    ended(rig.log.wait(rig.engine->submit(bad)), "internal", "an id outside of the vocabulary");
    Request grid = image_request(kNvlmX, 1, 1, 1, 4);
    grid.images[0].columns = 1 << 20;
    grid.images[0].rows = 1 << 20;
    ended(rig.log.wait(rig.engine->submit(grid)), "internal", "a grid that overflows");
    ended(rig.log.wait(rig.engine->submit(text_request(3, 2))), "length", "the engine goes on");
  });

  run("many requests from many threads, some cancelled, all end once", [] {
    Rig rig({kNvlmX});
    const Outcome expected = alone(kNvlmX, text_request(20, 12));
    std::vector<std::vector<uint64_t>> ids(4);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 100; ++i) {
          const uint64_t id = i % 10 == 3 ? rig.engine->submit(image_request(kNvlmX, 1 + i % 2, 1, 1 + i, 6))
                                          : rig.engine->submit(text_request(20, 12));
          ids[static_cast<size_t>(t)].push_back(id);
          if (i % 7 == 0) rig.engine->cancel(id);
          rig.engine->stats();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    int finished = 0;
    for (const auto& list : ids) {
      for (size_t i = 0; i < list.size(); ++i) {
        const Outcome outcome = rig.log.wait(list[i]);
        test::equal(outcome.ends, 1, "one end");
        check(outcome.code == "length" || (i % 7 == 0 && outcome.code == "aborted"),
              "end: " + outcome.code + " " + outcome.message);
        if (outcome.code == "length" && i % 10 != 3) finished += outcome.ids == expected.ids;
      }
    }
    check(finished > 250, "their answers are right");
    test::equal(rig.engine->stats().active_requests, 0, "nothing is left");
  });
  return summary();
}
